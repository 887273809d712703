"""Diffusion in latent space: noise, schedules, conditioning, step cache and sampling loop. Knows no network."""
