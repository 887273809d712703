"""Training StableSyncNet (arXiv 2412.09262, section 3.3)."""
