"""Dub a video: the command `latentsync dub`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("dub")
