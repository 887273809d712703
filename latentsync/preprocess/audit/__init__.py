"""What became of every hour of a run, and what its clips are enough for."""
