"""Training: objectives that can be called on a CPU, a loop that does not know the task, and the recipes."""
