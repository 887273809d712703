"""Say what is wrong with this installation, and for each fault the one command that mends it.

    python -m scripts.doctor
    python -m scripts.doctor --verify        checksums of large weight files too: a second per GB

Takes some seconds. Exit code 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

LEAST_PYTHON = (3, 11)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of the weights (checkpoints/)")
    parser.add_argument("--verify", action="store_true", help="compare the checksums of large weight files too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print all findings; 1 if one of them is a fault."""
    options = parse_arguments(arguments)
    if sys.version_info < LEAST_PYTHON:  # nothing below can be imported
        print(f"FAULT Python: {sys.version.split()[0]} is too old, 3.11 or newer is needed.")
        print("      -> Run `apt-get install python3 python3-venv` as root (Debian, Ubuntu), then ./setup_env.sh.")
        return 1
    from latentsync.checkpoint.registry import DEFAULT_DIRECTORY
    from latentsync.doctor import machine, software, weights
    from latentsync.doctor.finding import Grade, examine
    from latentsync.errors import for_terminal

    folder = options.checkpoint_dir or DEFAULT_DIRECTORY
    findings = examine(
        {
            "packages": software.check_packages,
            "OpenCV": software.check_opencv,
            "codecs": software.check_codecs,
            "GPU": software.check_gpu,
            "weights": lambda: weights.check_weights(folder, options.verify),
            "face detector": lambda: weights.check_detector(folder),
            "memory": machine.check_memory,
            "disk": machine.check_disk,
            "shared memory": machine.check_shared_memory,
        }
    )
    for finding in findings:
        print(for_terminal(str(finding)))
    faults = sum(finding.grade is Grade.FAULT for finding in findings)
    print(f"Faults: {faults}.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
