"""What stands between a program of ours and the network: the socket that it listens at, and whom it answers."""
