"""Look at the result of the data pipeline: the command `latentsync data`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("data")
