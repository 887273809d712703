"""What is taken to fit on a GPU fits, counted with the published networks on tensors without content."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks.counted_memory import CountedNetworks, count_detector, peak_on, room_on, without_content
from latentsync.inference import gpu_memory as module
from latentsync.inference.gpu_memory import CONTEXT, MOST_WINDOWS, auto_batch, fit_codec, gpu_room
from latentsync.models.codec import MAX_PIXELS
from latentsync.runtime.memory import GIB

CUDA = torch.device("cuda")


@pytest.fixture(scope="module", params=["1.5", "1.6"])
def counted(request):
    """The networks of a release and the detector."""
    with without_content():
        return CountedNetworks(request.param), count_detector()


# GiB of a card, and how many windows at once it has room for.
CARDS = {"1.5": [(4.8, 1), (6, 4)], "1.6": [(5.6, 1)]}


def test_what_is_taken_to_fit_fits(counted):
    networks, detector = counted
    release = "1.5" if networks.resolution == 256 else "1.6"
    with without_content():
        for card, windows in CARDS[release]:
            room = room_on(int(card * GIB), networks, detector)
            peak = peak_on(room, networks, detector)
            assert room.windows == windows
            assert peak <= card * GIB
            if room.suffices:
                assert peak <= room.needed + CONTEXT <= card * GIB


def test_windows_and_slices_keep_within_bounds():
    for free in (0, 10**9, 10**12):
        for resolution in (64, 128, 256, 512):
            room = gpu_room(free, 10**9, resolution, 2, torch.float16)
            assert 1 <= room.windows <= MOST_WINDOWS
            assert resolution**2 <= room.codec_pixels <= MAX_PIXELS and room.codec_pixels % resolution**2 == 0
    assert room.windows == MOST_WINDOWS and room.suffices
    small = gpu_room(10**9, 10**9, 512, 2, torch.float16)
    assert not small.suffices and "will probably not do" in small.describe()


def test_more_memory_and_less_precision_have_room_for_more():
    windows = [gpu_room(free * GIB, 0, 256, 2, torch.float16).windows for free in range(1, 9)]
    assert windows == sorted(windows) and windows[0] < windows[-1]
    half, single = (gpu_room(5 * GIB, 0, 256, 2, dtype).windows for dtype in (torch.bfloat16, torch.float32))
    assert half >= 2 * single
    assert gpu_room(5 * GIB, 0, 256, 1, torch.float16).windows > gpu_room(5 * GIB, 0, 256, 2, torch.float16).windows


def test_a_processor_has_its_own_numbers(monkeypatch):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    cpu = torch.device("cpu")
    assert auto_batch(cpu, torch.float32, 256, 2, are_builtin=False) == 1
    assert auto_batch(cpu, torch.float32, 128, 2, are_builtin=True) == 2
    codec = SimpleNamespace(max_pixels=MAX_PIXELS)
    fit_codec(codec, cpu, torch.float32)
    assert codec.max_pixels == MAX_PIXELS


def test_what_is_free_decides(monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda device: int(2 * GIB))
    codec = SimpleNamespace(max_pixels=MAX_PIXELS)
    fit_codec(codec, CUDA, torch.float16)
    assert 256**2 <= codec.max_pixels < MAX_PIXELS
    assert auto_batch(CUDA, torch.float16, 256, 2, are_builtin=False) == 2
    monkeypatch.setattr(module, "free_bytes", lambda device: None)
    assert auto_batch(torch.device("xpu"), torch.float16, 256, 2, are_builtin=False) == 1
