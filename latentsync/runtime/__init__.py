"""Settings of the whole process: the C library's heap, compiled networks, the cache folder."""
