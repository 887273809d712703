"""The networks: tensors in, tensors out. No files, no logging, no device choice."""
