"""When memory runs out, on the host or on an accelerator: how to know it, and how to give back what is not needed.

Everything that goes on after memory ran out does the same: recognise, free, try again with half as much, and name what
cannot be made smaller (``errors.OutOfMemoryError``).
"""

from __future__ import annotations

import errno

import torch

from latentsync import errors
from latentsync.runtime.malloc import return_freed_memory

# What libraries write into errors of a general kind (RuntimeError, torch.AcceleratorError, cv2.error) if they get no
# memory: torch's allocators (CUDA, HIP, XPU, MPS, CPU); cuBLAS, cuDNN, cuSOLVER and their HIP counterparts, whose
# status names all end alike; cuDNN's search for an algorithm, which passes over those whose work space does not fit;
# OpenCV.
_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "alloc_failed",
    "allocation_failed",
    "statusallocfailed",
    "unable to find a valid cudnn algorithm",
    "insufficient memory",
    "bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, or what it was raised from (``__cause__``), says that memory ran out: that of the host, of a
    GPU, or a work space of its libraries."""
    link: BaseException | None = error
    while link is not None:
        if _says_out_of_memory(link):
            return True
        link = link.__cause__
    return False


def release_memory() -> None:
    """Give back what nobody uses any more: cycles of Python, torch's cached blocks on every accelerator, the heap.

    To be called after the ``except`` block of the failure has ended: its traceback holds the tensors of all the calls
    that were going on. Tensors that are in use stay.
    """
    return_freed_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.xpu.is_available():
        torch.xpu.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError, errors.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, errors.LatentSyncError) or not isinstance(error, Exception):
        return False  # a sentence for people may name memory for another reason
    text = str(error).lower()
    return any(sign in text for sign in _SIGNS)
