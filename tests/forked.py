"""Processes that begin with the libraries of the networks imported, which costs others seconds of a processor."""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRELOADED = ["latentsync.cli.dub", "latentsync.inference.loading", "latentsync.training.unet.run"]


def start_module(
    name: str, line: list[str], *, said: Path | None = None, before: str = "", **environment: str
) -> ForkServerProcess:
    """``python -m NAME LINE`` in a process that is forked from one that has imported what it needs.

    ``said``: a file for what it writes to stderr; ``before``: code that it runs first.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        ensure_running()
    process = context.Process(target=_run, args=(name, line, said, before, dict(os.environ) | environment))
    process.start()
    return process


def end_of(process: ForkServerProcess, seconds: float = 550) -> int | None:
    """The exit code of a process, once it has ended."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        pytest.fail("the process did not end")
    return process.exitcode


def _run(name: str, line: list[str], said: Path | None, before: str, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    # A shell that runs the tests in the background has Ctrl-C ignored, nohup the hang-up, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if said is not None:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), sys.stderr.fileno())
    exec(before, {})
    sys.argv[1:] = line
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
