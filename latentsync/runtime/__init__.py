"""What concerns the whole process: the C library's heap, memory that runs out, compiled networks."""
