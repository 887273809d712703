"""How many threads decoders, converters, encoders, OpenCV and PyTorch may start, for the whole process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_codec_threads = 0  # one per processor core
_serial_lock = threading.Lock()
_serial: list[int] = []  # OpenCV's threads before, once for each block of ``opencv_in_one_thread`` that is open
_SMALL_IMAGE = 2**18  # pixels; with fewer, threads wait for each other longer than they convert


def codec_threads() -> int:
    """For each decoder and encoder that is opened from now on; 0: one per processor core."""
    return _codec_threads


def image_threads(n_pixels: int) -> int:
    """For each conversion of an image of so many pixels; 0: one per processor core. The result is the same."""
    return 1 if n_pixels < _SMALL_IMAGE else _codec_threads


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread for decoding, converting, encoding, OpenCV and PyTorch.

    x264's output and the rounding of sums depend on the number of threads, so work that must not depend on the machine
    is done inside this; workers that share the cores among them do all of theirs so.
    """
    import cv2
    import torch

    global _codec_threads
    before = _codec_threads, cv2.getNumThreads(), torch.get_num_threads()
    _codec_threads = 1
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _codec_threads = before[0]
        cv2.setNumThreads(before[1])
        torch.set_num_threads(before[2])


@contextmanager
def opencv_in_one_thread() -> Iterator[None]:
    """One thread for each call of OpenCV, for stages that run side by side and look at parts of frames: its threads
    would wait for each other, busily, longer than they work. Blocks may be open in several threads; the last one that
    ends brings back what was before."""
    import cv2

    with _serial_lock:
        _serial.append(_serial[0] if _serial else cv2.getNumThreads())
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        with _serial_lock:
            before = _serial.pop()
            if not _serial:
                cv2.setNumThreads(before)
