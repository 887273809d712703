"""Small clips and sounds for tests, drawn in NumPy and written with PyAV; they share nothing with ``latentsync.media``.

Every picture carries its own number: ``read_number(picture(n, ...)) == n``, also after a lossy codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_BITS = 12  # of the number drawn into a picture
_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi", ".gif": "gif"}


def picture(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """(H, W, 3) uint8: soft moving colors, and the number as a row of black and white blocks along the top edge."""
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    phase = 0.11 * number
    waves = [128 + 60 * np.sin(2 * np.pi * (x * (1 + c) + y * (2 - c)) / 2 + phase + c) for c in range(3)]
    pixels = np.stack([np.broadcast_to(wave, (height, width)) for wave in waves], axis=-1)
    pixels = np.rint(pixels).astype(np.uint8)
    for bit in range(_BITS):
        left, right = bit * width // _BITS, (bit + 1) * width // _BITS
        pixels[: height // 8, left:right] = 235 if number >> bit & 1 else 20
    return pixels


def read_number(pixels: np.ndarray) -> int:
    """The number that ``picture`` drew (modulo 4096)."""
    height, width = pixels.shape[:2]
    row = pixels[: max(1, height // 8)].astype(np.float32).mean(axis=(0, 2))
    centres = ((np.arange(_BITS) + 0.5) * width / _BITS).astype(int)
    return int(sum(1 << bit for bit, x in enumerate(centres) if row[x] > 128))


def tone(seconds: float, rate: int = 16_000, channels: int = 1, frequency: float = 220.0) -> np.ndarray:
    """(n, channels) int16 sine at a quarter of full scale; each channel an octave above the one before."""
    t = np.arange(round(seconds * rate)) / rate
    waves = [np.sin(2 * np.pi * frequency * 2**c * t) for c in range(channels)]
    return np.rint(8192 * np.stack(waves, axis=1)).astype(np.int16)


def write_clip(
    path: Path,
    pictures: int | Iterable[np.ndarray] = 25,
    *,
    fps: Fraction | int = 25,
    times: Sequence[Fraction] | None = None,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    options: dict[str, str] | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 16_000,
    sound_codec: str = "aac",
    rotation: int = 0,
    container_options: dict[str, str] | None = None,
    prepare: Callable[[av.VideoFrame], av.VideoFrame] | None = None,
    **tags: int | Fraction,
) -> Path:
    """Write a clip and return ``path``; the suffix chooses the container.

    ``pictures`` is a count of ``picture``s or the pictures themselves, (H, W, 3) RGB or (H, W, 4) RGBA uint8. ``times``
    (seconds) makes the clip's rate variable. ``rotation`` is what a player has to turn it by, degrees clockwise.
    ``prepare`` turns an RGB frame into the frame to be encoded. ``tags`` are set on the encoder: ``colorspace``,
    ``color_range``, ``color_primaries``, ``color_trc``, ``sample_aspect_ratio``.
    """
    if isinstance(pictures, int):
        pictures = (picture(n, *size) for n in range(pictures))
    base = Fraction(1, 90_000) if times is not None else 1 / Fraction(fps)
    with av.open(str(path), "w", format=_CONTAINERS[path.suffix], container_options=container_options) as out:
        stream = out.add_stream(codec, rate=Fraction(fps), options=options or {}, time_base=base)
        stream.pix_fmt = pix_fmt
        stream.gop_size = gop
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(-rotation)
        track = _add_sound(out, sound, sound_rate, sound_codec) if sound is not None else None
        for number, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels), "rgba" if pixels.shape[2] == 4 else "rgb24"
            )
            if number == 0:
                stream.width, stream.height = frame.width, frame.height
            frame = prepare(frame) if prepare else frame
            frame.time_base = base
            frame.pts = round((times[number] if times is not None else number * base) / base)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if track is not None:
            _encode_sound(out, track, sound, sound_rate)
    return path


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000, codec: str = "pcm_s16le") -> Path:
    """Write (n, channels) int16 samples to any sound file; the suffix chooses the container, ``codec`` must fit it."""
    with av.open(str(path), "w") as out:
        track = _add_sound(out, samples, rate, codec)
        _encode_sound(out, track, samples, rate)
    return path


def read_pcm(path: Path) -> tuple[np.ndarray, int]:
    """(n, channels) samples as decoded, in the decoder's own number format, and the rate."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    parts = [frame.to_ndarray() for frame in frames]
    planar = frames[0].format.is_planar
    channels = frames[0].layout.nb_channels
    return np.concatenate([p.T if planar else p.reshape(-1, channels) for p in parts]), frames[0].sample_rate


def _add_sound(out, samples: np.ndarray, rate: int, codec: str):
    return out.add_stream(codec, rate=rate, layout=_layout(samples.shape[1]))


def _encode_sound(out, track, samples: np.ndarray, rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), "s16", _layout(samples.shape[1]))
    frame.sample_rate = rate
    frame.time_base = Fraction(1, rate)
    frame.pts = 0
    out.mux(track.encode(frame))
    out.mux(track.encode(None))


def _layout(channels: int) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1"}[channels]
