"""Face detectors. Each module has ``missing_files(weights_dir)`` and ``load(weights_dir, device)``."""
