"""Training the U-Net in two stages (arXiv 2412.09262, section 3)."""
