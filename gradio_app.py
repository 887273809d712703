"""The page in a browser: the command `latentsync page`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("page")
