"""Memory that the C library holds is given back; memory that ran out is recognised in the words of every library."""

from __future__ import annotations

import errno
import platform
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from latentsync.errors import ConfigError, OutOfMemoryError, WeightsCorruptError
from latentsync.runtime.memory import is_out_of_memory, release_memory

CODE = """
import psutil
from latentsync.runtime.memory import keep_freed_memory, return_freed_memory
def megabytes():
    return psutil.Process().memory_info().rss / 2**20
keep_freed_memory()
before = megabytes()
class Cycle:
    pass
pieces = [bytearray(2**20) for _ in range(200)]
last, cycle = bytearray(10), Cycle()  # something stays at the end of the heap
cycle.itself, cycle.pieces = cycle, pieces
del pieces, cycle
held = megabytes()
return_freed_memory()
print(held - before, megabytes() - before)
"""
WORDS = [
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB",
    "CUDA error: out of memory",
    "HIP out of memory. Tried to allocate 2.00 GiB",
    "XPU out of memory. Tried to allocate 2.00 GiB",
    "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1 GB, max allowed: 9.07 GB)",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "HIP error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "miopenStatusAllocFailed",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9",
    "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.",
    "std::bad_alloc",
]

@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is about glibc")
def test_what_is_held_is_given_back():
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=True)
    held, left = map(float, done.stdout.split())
    assert held > 190 and left < 20


@pytest.mark.parametrize("words", WORDS)
def test_the_words_of_the_libraries_are_recognised(words):
    assert is_out_of_memory(RuntimeError(words))


def test_kinds_of_errors_are_recognised_whatever_they_say():
    for error in (torch.OutOfMemoryError("x"), MemoryError(), OSError(errno.ENOMEM, "x"), OutOfMemoryError("x")):
        assert is_out_of_memory(error)


def test_what_the_host_says_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes in function 'OutOfMemory'"))


def test_an_error_that_was_raised_from_it_is_recognised():
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        except RuntimeError as error:
            raise WeightsCorruptError("weights.pt is damaged.") from error
    except WeightsCorruptError as error:
        assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("\"softmax\" not implemented for 'Half'"),
        FileNotFoundError(errno.ENOENT, "out of memory"),
        ConfigError("out of memory is no setting."),
        KeyboardInterrupt("out of memory"),
    ],
    ids=str,
)
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


def test_only_caches_of_accelerators_that_are_there_are_emptied(monkeypatch):
    emptied = []
    for kind, there in (("cuda", True), ("xpu", False)):
        monkeypatch.setattr(f"torch.{kind}.is_available", lambda there=there: there)
        monkeypatch.setattr(f"torch.{kind}.empty_cache", lambda kind=kind: emptied.append(kind))
    release_memory()
    assert "cuda" in emptied and "xpu" not in emptied
