"""Make clips for training: the command `latentsync preprocess`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("preprocess")
