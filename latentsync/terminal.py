"""What a command says to its user: errors with remedies that work where they are shown, and how commands are called.

Messages of the library name commands in backticks, as `latentsync weights --for inference`. How that is typed depends
on the installation: `latentsync` where a wheel has put it on the path, else `PYTHON -m latentsync`.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from latentsync.errors import LatentSyncError
from latentsync.places import INSTALLED, ROOT


def run_command(command: Callable[[], int | None]) -> int:
    """The exit code of a program: what ``command`` returns (None is 0), or that of an error, which is printed."""
    try:
        return command() or 0
    except LatentSyncError as error:
        return report(error)


def report(error: LatentSyncError, prefix: str = "") -> int:
    """Print an error to the terminal; returns its exit code."""
    print(for_terminal(f"{prefix}{error}"), file=sys.stderr)
    return error.exit_code


def for_terminal(text: str) -> str:
    """``text`` with commands that can be copied from the terminal, whatever folder it is in, and without characters
    that it cannot show (names of files may be any bytes).

    Commands of this program name this interpreter, or the script beside it; so do its files, where the terminal is in
    another folder.
    """
    text = text.encode(errors="backslashreplace").decode()
    text = re.sub(r"`latentsync (?=[a-z])", lambda _: f"`{_invocation()} ", text)
    python = f"{shlex.quote(sys.executable)} -m "
    if INSTALLED or not Path().samefile(ROOT):
        text = re.sub(r"(?<![\w/.])(\./|(?=configs/|docs/|eval/))[\w./]+\.(sh|yaml|md)\b", _absolute, text)
        for package in ("scripts", "benchmarks"):
            text = text.replace(f"`python -m {package}.", f"`cd {shlex.quote(str(ROOT))} && {python}{package}.")
    return text.replace("`python -m ", f"`{python}")


def command_parser(name: str, doc: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of `latentsync NAME`, whose help is ``doc`` (a docstring; its examples as they are typed here)."""
    prefix = "latentsync" if INSTALLED else "python -m latentsync"
    doc, epilog = (
        text and re.sub(r"(^ *|`)latentsync (?=[a-z])", rf"\g<1>{prefix} ", text, flags=re.MULTILINE).replace("`", "")
        for text in (doc, epilog)
    )
    return argparse.ArgumentParser(
        prog=f"{prefix} {name}",
        description=doc,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _invocation() -> str:
    """What is typed for `latentsync` in this terminal."""
    python = f"{shlex.quote(sys.executable)} -m latentsync"
    if not INSTALLED:
        return python if Path().samefile(ROOT) else f"cd {shlex.quote(str(ROOT))} && {python}"
    script, on_path = Path(sys.executable).with_name("latentsync"), shutil.which("latentsync")
    if on_path is not None and Path(on_path).with_suffix("") == script:
        return "latentsync"
    return python


def _absolute(name: re.Match[str]) -> str:
    """A file that comes with the program by its whole path; other files as they were."""
    path = ROOT / name[0]
    return str(path) if path.is_file() else name[0]
