"""The page in a browser: the command `latentsync page`, and the file that a Hugging Face Space starts."""

import os
import sys

from latentsync.__main__ import run

if __name__ == "__main__":
    space = os.environ.get("SPACE_HOST")  # the name of a Space, which it sets
    arguments = ["--host", "0.0.0.0", "--port", "7860", "--allow_host", space] if space else []
    run("page", [*arguments, *sys.argv[1:]])
