"""Training the small built-in networks: codec, audio encoder, video encoder."""
