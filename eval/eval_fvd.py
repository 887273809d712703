"""FVD between two folders of videos: the command `latentsync fvd`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("fvd")
