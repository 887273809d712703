"""Audio in, frames out, while it comes (docs/live.md)."""
