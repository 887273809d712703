"""Sound as numbers: mel spectrograms and the arithmetic of windows in time. Pure functions, no files."""
