"""Say what is wrong with this installation, and for each fault the one command that mends it.

    latentsync doctor
    latentsync doctor --verify        checksums of large weight files too: a second per GB

Takes some seconds. Exit code 1 if there is a fault.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

from latentsync.places import WEIGHTS
from latentsync.terminal import command_parser, for_terminal


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("doctor", __doc__)
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of the weights (checkpoints/)")
    parser.add_argument("--verify", action="store_true", help="compare the checksums of large weight files too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print all findings; 1 if one of them is a fault."""
    options = parse_arguments(arguments)
    from latentsync.doctor import machine, software
    from latentsync.doctor.finding import Grade, examine

    folder = options.checkpoint_dir or WEIGHTS
    findings = examine(
        {
            "packages": software.check_packages,
            "OpenCV": software.check_opencv,
            "codecs": software.check_codecs,
            "GPU": software.check_gpu,
            "weights": lambda: _weights().check_weights(folder, options.verify),
            "face detector": lambda: _weights().check_detector(folder),
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


def _weights() -> ModuleType:
    """Where weight files are checked; it needs packages, so that it can be missing as they can."""
    from latentsync.doctor import weights

    return weights
