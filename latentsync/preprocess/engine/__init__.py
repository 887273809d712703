"""How a run of the data pipeline goes on: what is next, who does it, and what is kept on disk."""
