"""Train the U-Net: the command `latentsync train unet`."""

import sys

from latentsync.__main__ import run

if __name__ == "__main__":
    run("train", ["unet", *sys.argv[1:]])
