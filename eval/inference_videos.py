"""Dub a set of videos with the models loaded once: the command `latentsync dub-set`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("dub-set")
