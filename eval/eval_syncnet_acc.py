"""Accuracy of a sync network: the command `latentsync syncnet-accuracy`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("syncnet-accuracy")
