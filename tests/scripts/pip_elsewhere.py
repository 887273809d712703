"""pip as it would resolve on another platform: python -m tests.scripts.pip_elsewhere PLATFORM pip's arguments

pip takes wheels of another platform (--platform), but asks the machine that it runs on what requirements are for
("; sys_platform == 'darwin'"). Here the other platform answers that too.
"""

from __future__ import annotations

import sys

from pip._internal.cli.main import main
from pip._vendor.packaging import markers

GLIBC = (35, 34, 31, 28, 27, 26, 24, 17)  # minor versions that wheels name
# Name -> answers to the questions of requirements that differ from this machine's, and tags of wheels.
PLATFORMS = {
    "macOS arm64": (
        {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
        ["macosx_14_0_arm64"],
    ),
    "Linux aarch64": (
        {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
        [*(f"manylinux_2_{minor}_aarch64" for minor in GLIBC), "manylinux2014_aarch64"],
    ),
    "Windows": (
        {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64", "os_name": "nt"},
        ["win_amd64"],
    ),
    "Linux x86-64": (
        {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
        [*(f"manylinux_2_{minor}_x86_64" for minor in GLIBC), "manylinux2014_x86_64"],
    ),
}
PYTHON = "3.12"


def run(platform: str, arguments: list[str]) -> int:
    """pip's exit code."""
    answers, tags = PLATFORMS[platform]
    here = markers.default_environment
    markers.default_environment = lambda: (
        here() | answers | {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    )
    wheels = [option for tag in tags for option in ("--platform", tag)]
    return main([*arguments, "--only-binary=:all:", "--python-version", PYTHON, *wheels])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
