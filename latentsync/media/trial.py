"""Opening a stranger's file for the first time: in a process of its own, with limits on memory and processor time.

To find out what a file holds, FFmpeg reads its whole header: tags, chapters, indexes, cover art. Some grow a
thousandfold in memory, and some take time with the square of their number: 1.6 MB of tags take a minute. Nothing
interrupts that, and a fault of FFmpeg's would end the process. So the first time is tried elsewhere; after it, opening
the file costs no more than was allowed there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentsync.errors import AudioError, VideoError

MEMORY = 768 * 2**20  # bytes that opening a file may take
SECONDS = 5  # of processor time
_PATIENCE = 120  # seconds by the clock: for a machine or a disk that is busy
_TOO_LARGE = 3  # exit code of the process


def refuse_costly(
    path: Path, error: type[VideoError] | type[AudioError], formats: str, most_pixels: int, seconds: int = SECONDS
) -> None:
    """Raise ``error`` if opening a file takes more than ``MEMORY`` or ``seconds`` of a processor, or fails badly.

    What FFmpeg says of a file that it cannot read is no matter of this. Where the system sets no limits to processes
    (Windows; for memory, macOS too), only the time by the clock is limited.
    """
    command = [sys.executable, "-I", __file__, str(path), error.__name__, formats, str(most_pixels), str(seconds)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired as cause:
        raise error(f"{path} takes more than {_PATIENCE} s to open.", remedy="Convert it, without tags.") from cause
    if done.returncode == _TOO_LARGE:
        raise error(f"{path} asks for more memory than opening a file takes.", remedy="Convert it, without tags.")
    if done.returncode != 0:  # ended by the system: out of time, or a fault of FFmpeg's
        raise error(f"{path} cannot be opened: FFmpeg fails on it.", remedy="Convert it, without tags.")


def _try(path: str, error: str, formats: str, most_pixels: str, seconds: str) -> int:
    """The exit code of the process: 0 if the file was opened, or refused in an orderly way."""
    sys.path.insert(0, str(Path(__file__).parents[2]))  # this file runs by itself
    from latentsync import errors
    from latentsync.media.container import open_input

    _limit_this_process(int(seconds))
    try:
        with open_input(Path(path), getattr(errors, error), formats, int(most_pixels)):
            return 0
    except errors.LatentSyncError as refused:
        return _TOO_LARGE if isinstance(refused.__cause__, MemoryError) else 0
    except MemoryError:
        return _TOO_LARGE


def _limit_this_process(seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    pages = Path("/proc/self/statm")
    if pages.exists():
        size = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


if __name__ == "__main__":
    sys.exit(_try(*sys.argv[1:]))
