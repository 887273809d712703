"""The sub-commands of `latentsync`: arguments -> one call, an error -> a sentence and an exit code."""
