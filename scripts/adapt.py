"""Make an adapter of one person's videos: the command `latentsync adapt`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("adapt")
