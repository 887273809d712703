"""Tiny clips whose mouth follows their sound, for tests of the training: no face, but the same statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.media.synthetic import write_clip

RATE, FPS = 16_000, 25


def talking_square(seed: int, n_frames: int, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """(n, side, side, 3) uint8 pictures of a dark bar that opens with the loudness of the sound, and that sound:
    (samples, 1) int16 noise whose loudness drifts."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0, 1, n_frames // 3 + 3)
    opening = np.interp(np.arange(n_frames) / 3, np.arange(len(steps)), steps)
    per_sample = np.interp(np.arange(n_frames * RATE // FPS) * FPS / RATE, np.arange(n_frames), opening)
    noise = rng.standard_normal(len(per_sample))
    sound = np.rint(np.clip(noise * per_sample**2 * 6000, -32768, 32767)).astype(np.int16)[:, None]
    frames = np.empty((n_frames, side, side, 3), np.uint8)
    frames[:] = rng.integers(120, 220, 3).astype(np.uint8)
    middle, rows = 3 * side // 4, np.arange(side)
    for frame, width in zip(frames, opening, strict=True):
        frame[np.abs(rows - middle) <= width * side / 5, side // 4 : 3 * side // 4] = 30
    return frames, sound


def write_talking_clips(
    folder: Path, count: int, n_frames: int = 48, side: int = 32, first_seed: int = 0
) -> list[Path]:
    """Clips ``a0.mp4`` ... in ``folder``, every one a recording of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in range(first_seed, first_seed + count):
        frames, sound = talking_square(seed, n_frames, side)
        paths.append(write_clip(folder / f"a{seed}.mp4", frames, sound=sound, gop=12))
    return paths


def write_corrupt_clip(path: Path, like: Path) -> Path:
    """A file that opens like ``like`` but whose pictures cannot be decoded."""
    data = bytearray(like.read_bytes())
    start = data.find(b"mdat") + 8
    data[start : start + len(data) // 2] = bytes(len(data) // 2)
    path.write_bytes(data)
    return path
