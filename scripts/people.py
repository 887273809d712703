"""Everybody in a video, so that one of them can be chosen for a dub: the command `latentsync people`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("people")
