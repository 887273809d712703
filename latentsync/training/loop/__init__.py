"""The training loop, which knows no task: steps, processes, precision, saving, logging."""
