"""Train a sync network: the command `latentsync train syncnet`."""

import sys

from latentsync.__main__ import run

if __name__ == "__main__":
    run("train", ["syncnet", *sys.argv[1:]])
