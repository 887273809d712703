"""What the process as a whole is told: the C library's heap, compiled networks, the cache folder."""
