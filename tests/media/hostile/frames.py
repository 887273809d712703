"""Videos whose frames are larger than stated, or than anything, or shown at times that no clock has."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from tests.media.hostile.containers import movie_header, mp4, mux, png, sample_table, video_track
from tests.media.hostile.table import VIDEO, hostile
from tests.media.hostile.uploads import gif_bomb, ten_hours
from tests.media.synthetic import write_clip


@cache
def encoded(codec: str, width: int, height: int, pix_fmt: str, options: tuple[tuple[str, str], ...] = ()) -> tuple:
    """Packets of one grey frame, and the encoder's extradata."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = width, height, pix_fmt
    context.time_base, context.framerate, context.options = Fraction(1, 25), Fraction(25), dict(options)
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane in frame.planes:
        plane.update(bytes([100]) * plane.buffer_size)
    frame.pts = 0
    packets = [bytes(packet) for packet in [*context.encode(frame), *context.encode(None)]]
    return packets[0], context.extradata


_GROWING = {  # codec -> container, pixel format, options of the encoder
    "mjpeg": ("mov", "yuvj420p", {"strict": "-1"}),
    "libx264": ("avi", "yuv420p", {"preset": "ultrafast", "x264-params": "log=-1"}),
    "libx265": ("mpegts", "yuv420p", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    "libvpx": ("webm", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "libvpx-vp9": ("webm", "yuv420p", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "mpeg4": ("avi", "yuv420p", {}),
    "mpeg2video": ("matroska", "yuv420p", {}),
    "flv": ("flv", "yuv420p", {}),
    "prores_ks": ("mov", "yuv422p10le", {}),
    "cfhd": ("mov", "yuv422p10le", {}),
    "tiff": ("mov", "rgb24", {"compression_algo": "deflate"}),
    "jpegls": ("avi", "rgb24", {}),
    "utvideo": ("avi", "yuv420p", {}),
    "ffv1": ("matroska", "yuv420p", {}),
}


@hostile(VIDEO, *(f"late {codec}" for codec in _GROWING))
def grows_late(folder: Path, name: str) -> Path:
    """Three frames of 256 x 256 pixels, one of 9 megapixels, more small ones."""
    codec = name.removeprefix("late ")
    container, pix_fmt, options = _GROWING[codec]
    first, extradata = encoded(codec, 256, 256, pix_fmt, tuple(options.items()))
    large, _ = encoded(codec, 4000, 2304, pix_fmt, tuple(options.items()))
    packets = [first] * 3 + [large] + [first] * 20
    path = folder / f"late.{container}"
    return mux(path, packets, codec, container=container, pix_fmt=pix_fmt, side=256, extradata=extradata)


@hostile(VIDEO, "first.mov", "late.mov", "first.avi", "late.avi")
def grows_a_thousandfold(folder: Path, name: str) -> Path:
    """A PNG of 128 megapixels among small ones: 380 KB that decode to 384 MB."""
    packets = [png(256, 256)] * 25
    packets[0 if name.startswith("first") else 3] = png(16_000, 8_000)
    return mux(folder / name, packets, "png", container=name[-3:], pix_fmt="rgb24", side=256)


@hostile(VIDEO, "large.png", "large.mp4")
def large_image(folder: Path, name: str) -> Path:
    (folder / name).write_bytes(png(16_000, 8_000))
    return folder / name


@hostile(VIDEO, "large.jpg", "large.tif", "large.webp")
def large_file(folder: Path, name: str) -> Path:
    codec, pix_fmt, side = {
        "large.jpg": ("mjpeg", "yuvj420p", 9_000),
        "large.tif": ("tiff", "rgb24", 6_000),
        "large.webp": ("libwebp", "yuv420p", 9_000),
    }[name]
    options = {"tiff": (("compression_algo", "deflate"),), "libwebp": (("compression_level", "0"),)}.get(codec, ())
    (folder / name).write_bytes(encoded(codec, side, side, pix_fmt, options)[0])
    return folder / name


@hostile(VIDEO, "gif.mp4")
def gif(folder: Path) -> Path:
    return gif_bomb(folder / "gif.mp4", frames=20)


@hostile(VIDEO, "comment.mov")
def image_with_a_comment(folder: Path) -> Path:
    """A PNG whose comment unpacks to 200 MB."""
    return mux(folder / "comment.mov", [png(64, 64, text=200)] * 3, "png", container="mov", pix_fmt="rgb24")


@hostile(VIDEO, "a pixel.avi", "a line.avi", "a column.avi")
def odd_shapes(folder: Path, name: str) -> Path:
    size = {"a pixel.avi": (1, 1), "a line.avi": (30_000, 1), "a column.avi": (1, 30_000)}[name]
    pictures = [np.zeros((size[1], size[0], 3), np.uint8)] * 3
    return write_clip(folder / name, pictures, size=size, codec="png", pix_fmt="rgb24")


@hostile(VIDEO, "no size.mp4")
def no_size(folder: Path) -> Path:
    table = sample_table([(1, 1)], [(1, 1, 1)], (1000, 1, b""), [2000])
    return mp4(folder / "no size.mp4", movie_header(), video_track(table, b"raw ", 0, 0))


@hostile(VIDEO, "size after size.avi")
def restless(folder: Path) -> Path:
    packets = [png(16 * (1 + number % 40), 16 * (1 + number % 7)) for number in range(60)]
    return mux(folder / "size after size.avi", packets, "png", container="avi", pix_fmt="rgb24")


_TIMES = {
    "far apart.mkv": ([0, 2**40], Fraction(1, 1000)),
    "far away.mp4": ([2**61, 2**61 + 1, 2**61 + 2], Fraction(1, 25)),
    "before the start.mkv": ([-(2**20) + number for number in range(5)], Fraction(1, 25)),
    "all at once.avi": ([0, 1, 2, 3], Fraction(1, 10**6)),
    "a million a second.mp4": (list(range(200)), Fraction(1, 10**6)),
}


@hostile(VIDEO, *_TIMES)
def odd_times(folder: Path, name: str) -> Path:
    times, time_base = _TIMES[name]
    container = {"mkv": "matroska"}.get(name[-3:], name[-3:])
    packets, codec = [png(64, 64)] * len(times), "png"
    if container == "matroska":
        frame, extradata = encoded("ffv1", 64, 64, "yuv420p")
        packets, codec = [frame] * len(times), "ffv1"
    pix_fmt = "rgb24" if codec == "png" else "yuv420p"
    path, extradata = folder / name, None if codec == "png" else extradata
    container = "mov" if container == "mp4" else container
    return mux(
        path,
        packets,
        codec,
        container=container,
        pix_fmt=pix_fmt,
        times=times,
        time_base=time_base,
        extradata=extradata,
    )


@hostile(VIDEO, "ten hours.mp4")
def hours(folder: Path) -> Path:
    return ten_hours(folder / "ten hours.mp4")
