"""What is wrong with an installation, and the one command that mends it."""
