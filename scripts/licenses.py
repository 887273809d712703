"""Licences of the weight files: the command `latentsync licenses`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("licenses")
