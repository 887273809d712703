"""Score results against the truth: the command `latentsync evaluate`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("evaluate")
