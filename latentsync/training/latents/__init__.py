"""Training in latent space: batches, and latents of whole clips that are encoded once."""
