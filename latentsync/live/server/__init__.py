"""Live streams over the network, and a page to try them (docs/live.md)."""
