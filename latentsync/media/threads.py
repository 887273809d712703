"""How many threads FFmpeg's decoders and encoders may start, for the whole process."""

from __future__ import annotations

_threads = 0


def limit_threads(count: int) -> None:
    """At most ``count`` threads for each decoder and encoder that is opened from now on; 0: one per processor core.

    x264's output depends on its number of threads, so work that must not depend on the machine sets 1.
    """
    global _threads
    _threads = count


def thread_count() -> int:
    """What ``limit_threads`` has set."""
    return _threads
