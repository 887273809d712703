"""Training data: clip manifests, the two datasets, and synthetic talkers with known truth."""
