"""What is wrong with this installation: the command `latentsync doctor`."""

import sys

LEAST_PYTHON = (3, 11)

if __name__ == "__main__":
    if sys.version_info < LEAST_PYTHON:  # nothing below can be imported
        print(f"FAULT Python: {sys.version.split()[0]} is too old, 3.11 or newer is needed.")
        print("      -> Run `apt-get install python3 python3-venv` as root (Debian, Ubuntu), then ./setup_env.sh.")
        sys.exit(1)
    from latentsync.__main__ import run

    run("doctor")
