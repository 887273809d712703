"""Distilling a trained U-Net into a student of few steps, on top of the U-Net's training."""
