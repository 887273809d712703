"""Speech to learn from: recordings with their words, voices of other programs, and what rooms and lines do to them."""
