"""Ten minutes of one GPU: the steps of ``benchmarks.gpu_session``, what runs them, and their tables."""
