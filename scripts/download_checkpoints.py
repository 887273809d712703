"""Fetch, list or bring in weights: the command `latentsync weights`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("weights")
