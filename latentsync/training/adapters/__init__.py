"""Training an adapter: low-rank changes of a U-Net for one person or one language."""
