"""Draw clips of people who speak: the command `latentsync talkers`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("talkers")
