"""Tiny clips whose mouth follows their audio, for tests of the training: no face, but the same statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.media.synthetic import write_clip

RATE, FPS = 16_000, 25


def talking_square(seed: int, n_frames: int, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """(n, side, side, 3) uint8 images of a dark bar that opens with the loudness of the audio, and that audio:
    (samples, 1) int16 noise whose loudness drifts."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0, 1, n_frames // 3 + 3)
    opening = np.interp(np.arange(n_frames) / 3, np.arange(len(steps)), steps)
    per_sample = np.interp(np.arange(n_frames * RATE // FPS) * FPS / RATE, np.arange(n_frames), opening)
    noise = rng.standard_normal(len(per_sample))
    audio = np.rint(np.clip(noise * per_sample**2 * 6000, -32768, 32767)).astype(np.int16)[:, None]
    frames = np.empty((n_frames, side, side, 3), np.uint8)
    frames[:] = rng.integers(120, 220, 3).astype(np.uint8)
    middle, rows = 3 * side // 4, np.arange(side)
    for frame, width in zip(frames, opening, strict=True):
        frame[np.abs(rows - middle) <= width * side / 5, side // 4 : 3 * side // 4] = 30
    return frames, audio


def write_talking_clips(
    folder: Path, count: int, n_frames: int = 48, side: int = 32, first_seed: int = 0
) -> list[Path]:
    """Clips ``a0.mp4`` ... in ``folder``, every one a recording of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in range(first_seed, first_seed + count):
        frames, audio = talking_square(seed, n_frames, side)
        paths.append(write_clip(folder / f"a{seed}.mp4", frames, sound=audio, gop=12))
    return paths


def write_corrupt_clip(path: Path, like: Path) -> Path:
    """A file that opens like ``like`` but whose images cannot be decoded."""
    data = bytearray(like.read_bytes())
    start = data.find(b"mdat") + 8
    data[start : start + len(data) // 2] = bytes(len(data) // 2)
    path.write_bytes(data)
    return path
