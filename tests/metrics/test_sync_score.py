"""The search for the offset: recorded sequences, known shifts, and a clip from pixels and samples to the score."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latentsync.audio.mfcc import mfcc
from latentsync.errors import AudioError, DataError
from latentsync.metrics import sync_score as module
from latentsync.metrics.sync_score import OffsetSearch, mean_score, score_of, shift_distances, sync_score
from latentsync.metrics.syncnet_v2 import SyncNetV2
from latentsync.types import SyncScore
from tests.golden import golden_arrays, relative_error, shared_file
from tests.models.published import rule_filled


@pytest.fixture(scope="module")
def network() -> SyncNetV2:
    return rule_filled(SyncNetV2)


def embeddings(n: int, seed: int, width: int = 32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width)))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_recorded_sequences(number: int) -> None:
    golden = golden_arrays("evaluation/syncnet_v2")
    distances = shift_distances(*(torch.from_numpy(golden[f"seq{number}_{side}"]) for side in ("im", "cc")))
    score = score_of(distances)
    assert relative_error(distances, golden[f"seq{number}_mean_dists"]) < 1e-6
    assert score.offset_frames == golden[f"seq{number}_offset"][0]
    assert score.distance == pytest.approx(golden[f"seq{number}_min_dist"][0], rel=1e-5)
    assert score.confidence == pytest.approx(golden[f"seq{number}_conf"][0], rel=1e-5)


@given(st.integers(-5, 5), st.integers(40, 120), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_known_shift_is_recovered(shift: int, n: int, seed: int) -> None:
    lips = embeddings(n, seed)
    audio = torch.roll(lips, -shift, dims=0) + 0.1 * embeddings(n, seed + 1)  # the audio comes `shift` frames early
    score = score_of(shift_distances(lips, audio))
    assert score.offset_frames == shift
    assert score.confidence > 1


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_pieces_make_no_difference(sizes: list[int], seed: int) -> None:
    lips, audio = embeddings(sum(sizes), seed), embeddings(sum(sizes), seed + 1)
    search = OffsetSearch()
    for pair in zip(lips.split(sizes), audio.split(sizes), strict=True):
        search.add(*pair)
    np.testing.assert_allclose(search.distances(), shift_distances(lips, audio), rtol=1e-12)


def test_a_rotation_of_both_makes_no_difference() -> None:
    lips, audio = embeddings(50, 0), embeddings(50, 1)
    turn = torch.linalg.qr(embeddings(32, 2))[0]
    np.testing.assert_allclose(shift_distances(lips @ turn, audio @ turn), shift_distances(lips, audio), rtol=1e-5)


def test_a_search_without_embeddings() -> None:
    with pytest.raises(ValueError, match="no embeddings"):
        OffsetSearch().distances()


def test_the_mean_of_tracks_cuts_the_offset() -> None:
    mean = mean_score([SyncScore(4.0, -3, 8.0), SyncScore(2.0, 0, 10.0)])
    assert mean == SyncScore(3.0, -1, 9.0)


@pytest.mark.shared
def test_a_clip_as_published(network: SyncNetV2) -> None:
    from latentsync.media.audio import read_audio

    path = shared_file("golden/evaluation/clip30.avi")
    offset, distance, confidence = golden_arrays("evaluation/syncnet_v2")["clip30_offset_mindist_conf"]
    score = sync_score(network, as_jpeg(path), read_audio(path))
    assert score.offset_frames == offset
    assert score.distance == pytest.approx(distance, rel=0.01)
    assert score.confidence == pytest.approx(confidence, rel=0.01)


def as_jpeg(path: Path) -> Iterator[np.ndarray]:
    """The frames after FFmpeg's JPEG at its usual quality, through which the published scorer passes them."""
    encoder, decoder = av.CodecContext.create("mjpeg", "w"), av.CodecContext.create("mjpeg", "r")
    encoder.width = encoder.height = 224
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuvj420p", Fraction(1, 25), Fraction(25)
    with av.open(path) as container:
        for index, frame in enumerate(container.decode(video=0)):
            frame.pts, frame.time_base, frame.pict_type = index, Fraction(1, 25), 0
            for packet in encoder.encode(frame):
                yield from (image.to_ndarray(format="rgb24") for image in decoder.decode(packet))


def test_streaming_equals_the_definition(network: SyncNetV2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 3)
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, (14, 224, 224, 3), dtype=np.uint8)
    waveform = rng.normal(size=13 * 640 + 100).astype(np.float32) * 0.1  # one frame less than there are frames
    score = sync_score(network, iter(frames), waveform)

    n = 13 - 5
    spectra = mfcc(waveform).astype(np.float32)
    with torch.inference_mode():
        images = torch.from_numpy(frames[..., ::-1].copy()).permute(3, 0, 1, 2)[None].float()
        lips = network.embed_lips(images[:, :, : n + 4])[0]
        audio = network.embed_audio(torch.from_numpy(np.stack([spectra[:, 4 * i : 4 * i + 20] for i in range(n)])))
        expected = score_of(shift_distances(lips, audio))
    assert score.offset_frames == expected.offset_frames
    assert score.distance == pytest.approx(expected.distance, rel=1e-5)
    assert score.confidence == pytest.approx(expected.confidence, abs=1e-5 * expected.distance)


@pytest.mark.parametrize("n_frames, n_samples", [(5, 16_000), (50, 5 * 640 + 639), (50, 0)])
def test_too_short(network: SyncNetV2, n_frames: int, n_samples: int) -> None:
    frames = np.zeros((n_frames, 224, 224, 3), np.uint8)
    with pytest.raises(DataError, match="6 frames"):
        sync_score(network, frames, np.zeros(n_samples, np.float32))


def test_the_shortest_clip(network: SyncNetV2) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3), dtype=np.uint8)  # other sizes are resized
    score = sync_score(network, frames, np.zeros(6 * 640, np.float32))
    assert np.isfinite([score.confidence, score.distance]).all()


def test_broken_audio(network: SyncNetV2) -> None:
    with pytest.raises(AudioError, match="not finite"):
        sync_score(network, np.zeros((10, 224, 224, 3), np.uint8), np.full(6400, np.inf, np.float32))


class NoFloat64(TorchDispatchMode):
    """Refuses float64 on any device but the CPU, as Apple's GPUs do."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            assert not isinstance(tensor, torch.Tensor) or tensor.is_cpu or tensor.dtype != torch.float64
        return result


def test_a_device_without_float64_will_do():
    with FakeTensorMode(), NoFloat64():
        search = OffsetSearch()
        for _ in range(2):
            search.add(torch.empty(40, 8, device="cuda"), torch.empty(40, 8, device="cuda"))
        assert search._sums.dtype == torch.float64
