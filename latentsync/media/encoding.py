"""Which encoder, pixel format and settings a result gets.

| codec  | files                    | pixel formats                      | alpha             | quality setting         |
|--------|--------------------------|------------------------------------|-------------------|-------------------------|
| h264   | .mp4 .m4v .mov .mkv .avi | 4:2:0, 4:2:2, 4:4:4, with 8 bits   | no                | crf 0 to 51, default 17 |
| hevc   | .mp4 .m4v .mov .mkv      | as the source, up to 12 bits       | no                | crf 0 to 51, default 18 |
| vp9    | .webm .mkv .mp4 .m4v     | as the source, with 8 bits         | .webm .mkv, lossy | crf 0 to 63, default 20 |
| prores | .mov .mkv                | 4:2:2 or 4:4:4, 10 bits            | exact             | none (HQ or 4444)       |
| ffv1   | .mkv                     | as the source, or RGB; lossless    | exact             | none                    |
| png    | .mov .mkv .avi           | RGB; lossless                      | exact             | none                    |

Players hardly show H.264 with more than 8 bits, so that has to be asked for by its pixel format. The VP9 encoder that
PyAV brings has no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import av

from latentsync.errors import EncoderError, OutputError
from latentsync.media import color
from latentsync.media.planes import in_parts
from latentsync.media.tone_map import is_hdr
from latentsync.types import ColorTags, HdrMetadata, VideoInfo

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")

_HEVC_LEAST = 64  # pixels: one coding tree unit
_WHOLE_SAMPLES = ("h264", "hevc")  # take even sizes only where chroma is subsampled
_ROW_REPEATED = "{} x {} pixels are odd, so the last row or column is there twice"
_HDR_DEPTH = 10  # bits: with fewer, the steps of HLG and PQ are seen
_UNSPECIFIED = 2  # FFmpeg's code for an unstated matrix
_BT709_VIDEO = ColorTags(matrix=1, primaries=1, transfer=1, full_range=False)  # for RGB sources, which have no matrix
# Exact for every common time base (1/90000, 1/15360, 1/1000, 1/600, 1/30000 ...), and a gap of 6 minutes fits 32 bits.
_VARIABLE_RATE_TIME_BASE = Fraction(1, 5_760_000)


@dataclass(frozen=True)
class EncodingOptions:
    """What the user asks for.

    ``codec`` "auto": h264, vp9 in .webm; with alpha prores in .mov, vp9 in .webm, ffv1 in .mkv, png in .avi. ``crf``
    None: near-transparent, see the module's table; lower is better and larger. ``preset`` trades speed for size, hardly
    for quality (h264, hevc, vp9). ``pix_fmt`` None: that of the source, as far as the codec has it.

    ``repeatable``: with one thread (``media.threads``) equal frames give equal bytes, for some more of them (h264).
    ``for_browsers``: what every browser shows, whatever the source has: H.264 in .mp4, opaque, with 8 bits in 4:2:0 and
    so of even width and height; the audio is AAC.
    """

    codec: str = "auto"
    crf: int | None = None
    preset: str = "fast"
    pix_fmt: str | None = None
    repeatable: bool = False
    for_browsers: bool = False


@dataclass(frozen=True)
class EncodingPlan:
    """What ``EncodingOptions`` come to for one source and one kind of file."""

    width: int  # of what is encoded; where it is more than the source's, the last column is repeated
    height: int
    codec: str  # as in the table
    encoder: str  # FFmpeg's name
    container: str  # FFmpeg's name
    pix_fmt: str
    color: ColorTags
    time_base: Fraction  # seconds; frame times are whole numbers of it
    settings: Mapping[str, str]
    tone_map: int | None = None  # the HDR transfer that becomes BT.709
    first_field: str = ""  # see ``VideoInfo``; "" where frames are not coded as fields
    notes: tuple[str, ...] = ()

    @property
    def alpha(self) -> bool:
        """Whether frames have to bring an alpha plane."""
        return color.has_alpha(self.pix_fmt)


@dataclass(frozen=True)
class _Codec:
    encoder: str
    suffixes: tuple[str, ...]
    pix_fmts: Mapping[str, str]  # "420", "422", "444", "rgb", each also with "+alpha" -> pixel format
    alpha_suffixes: tuple[str, ...] = ()
    depths: tuple[int, ...] = ()  # bits per color besides 8 that it is given where the source has them
    crf: range = range(0)
    default_crf: int = 0


_YUV = {chroma: f"yuv{chroma}p" for chroma in ("420", "422", "444")}
_YUVA = {f"{chroma}+alpha": f"yuva{chroma}p" for chroma in ("420", "422", "444")}
_CODECS = {
    "h264": _Codec("libx264", (".mp4", ".m4v", ".mov", ".mkv", ".avi"), _YUV, crf=range(52), default_crf=17),
    "hevc": _Codec("libx265", (".mp4", ".m4v", ".mov", ".mkv"), _YUV, depths=(10, 12), crf=range(52), default_crf=18),
    "vp9": _Codec(
        "libvpx-vp9",
        (".webm", ".mkv", ".mp4", ".m4v"),
        {**_YUV, "420+alpha": "yuva420p"},
        alpha_suffixes=(".webm", ".mkv"),
        crf=range(64),
        default_crf=20,
    ),
    "prores": _Codec(
        "prores_ks",
        (".mov", ".mkv"),
        {"422": "yuv422p10le", "444": "yuv444p10le", "444+alpha": "yuva444p10le"},
        alpha_suffixes=(".mov", ".mkv"),
    ),
    "ffv1": _Codec(
        "ffv1",
        (".mkv",),
        {**_YUV, **_YUVA, "rgb": "bgr0", "rgb+alpha": "bgra"},
        alpha_suffixes=(".mkv",),
        depths=(10, 12),
    ),
    "png": _Codec(
        "png",
        (".mov", ".mkv", ".avi"),
        {"rgb": "rgb24", "rgb+alpha": "rgba"},
        alpha_suffixes=(".mov", ".mkv", ".avi"),
    ),
}
CODECS = ("auto", *_CODECS)
# Where a codec lacks the chroma format of the source, the first of these that it has is taken.
_NEAREST = {
    "420": ("422", "444", "rgb"),
    "422": ("444", "420", "rgb"),
    "444": ("422", "420", "rgb"),
    "rgb": ("420", "444", "422"),  # 4:2:0 first: hardly any player shows H.264 in another form
}
_CHROMA_SAMPLES = {"420": 1, "422": 2, "444": 4, "rgb": 4}  # per 2 x 2 pixels


def plan_encoding(encoding: EncodingOptions, source: VideoInfo, suffix: str) -> EncodingPlan:
    """Settle codec, pixel format, color and time base. Raises ``OutputError`` for an unknown suffix,
    ``EncoderError`` for a combination that cannot be."""
    suffix = suffix.lower()
    if suffix not in CONTAINERS:
        known = " ".join(CONTAINERS)
        raise OutputError(f"Files of type '{suffix}' cannot be written.", remedy=f"Name the result as one of {known}.")
    name = _choose_codec(encoding, suffix, source)
    if suffix == ".avi" and source.variable_frame_rate:
        raise EncoderError(
            "An .avi file cannot hold the variable frame rate of the source.", remedy="Name the result .mp4 or .mkv."
        )
    if name == "hevc" and max(source.width, source.height) < _HEVC_LEAST:
        raise EncoderError(
            f"x265 cannot be trusted with {source.width} x {source.height} pixels: it overruns its memory on pictures "
            f"that are smaller than {_HEVC_LEAST} pixels both ways.",
            remedy="Choose another --codec.",
        )
    width, height = source.width, source.height
    if encoding.for_browsers:
        if (name, suffix) != ("h264", ".mp4"):
            raise EncoderError(f"What browsers show is h264 in .mp4, not {name} in {suffix}.")
        pix_fmt, notes = _YUV["420"], _notes_for_browsers(source)
    elif encoding.pix_fmt is None:
        pix_fmt, notes = _choose_pix_fmt(name, source)
    else:
        pix_fmt, notes = _asked_pix_fmt(encoding.pix_fmt, name, source), ()
        if _chroma(pix_fmt) != "444" and name in _WHOLE_SAMPLES and (width % 2 or height % 2):
            notes = (_ROW_REPEATED.format(width, height),)
    if name in _WHOLE_SAMPLES and _chroma(pix_fmt) not in ("444", "rgb"):
        width, height = width + width % 2, height + height % 2
    deep = color.bit_depth(pix_fmt) >= _HDR_DEPTH
    tone_map = source.color.transfer if is_hdr(source.color) and not deep else None
    return EncodingPlan(
        width=width,
        height=height,
        codec=name,
        encoder=_CODECS[name].encoder,
        container=CONTAINERS[suffix],
        pix_fmt=pix_fmt,
        color=_tags(name, source, pix_fmt) if tone_map is None else _tone_mapped_tags(pix_fmt),
        time_base=_VARIABLE_RATE_TIME_BASE if source.variable_frame_rate else 1 / source.fps,
        settings=_settings(name, encoding, pix_fmt, suffix, source),
        tone_map=tone_map,
        first_field=source.first_field if name == "h264" else "",
        notes=(*notes, *_notes(name, pix_fmt, suffix, source, tone_map is not None)),
    )


def _notes(name: str, pix_fmt: str, suffix: str, source: VideoInfo, tone_mapped: bool) -> Iterator[str]:
    """What a result does not say of its light and fields, and who does not show it."""
    if name == "h264" and _chroma(pix_fmt) != "420":
        spelled = _spelled(_chroma(pix_fmt))
        yield f"Firefox, Safari, QuickTime and most phones do not show h264 in {spelled}; --pix_fmt yuv420p is shown"
    if source.sample_aspect_ratio != 1 and suffix in (".mkv", ".webm") and name not in ("h264", "hevc"):
        shape = source.sample_aspect_ratio
        yield f"the pixels are {shape.numerator}:{shape.denominator} wide, which {name} in {suffix} does not say"
    if tone_mapped:
        yield "the HDR source is written in the colors of an ordinary screen (BT.709)"
    elif is_hdr(source.color) and name != "hevc" and source.hdr != HdrMetadata():
        yield f"{name} does not keep what the HDR source says of its light; hevc does"
    if source.first_field and name == "h264":
        order = f"{source.first_field} field first"
        yield f"the source is interlaced, and so is the result ({order}); --deinterlace makes whole frames"
    elif source.first_field:
        yield f"the source is interlaced, which {name} does not say in the result; --deinterlace makes whole frames"


def _choose_codec(encoding: EncodingOptions, suffix: str, source: VideoInfo) -> str:
    name, alpha = encoding.codec, source.has_alpha and not encoding.for_browsers
    if name not in CODECS:
        raise EncoderError(f"There is no codec '{name}'.", remedy=f"Choose one of {' '.join(CODECS)}.")
    if name == "auto":
        name = "vp9" if suffix == ".webm" else "h264"
        if _keeps_hdr(encoding, suffix, source):
            name = "hevc"
        if alpha:
            name = {".mov": "prores", ".mkv": "ffv1", ".avi": "png"}.get(suffix, name)
    codec = _CODECS[name]
    if suffix not in codec.suffixes:
        raise EncoderError(
            f"{name} does not go into {suffix} files.", remedy=f"It goes into {' '.join(codec.suffixes)}."
        )
    if alpha and suffix not in codec.alpha_suffixes:
        raise EncoderError(
            f"The video has an alpha channel, which {name} in a {suffix} file would lose.",
            remedy="Name the result .mov (ProRes 4444), .mkv (FFV1) or .webm (VP9), or choose such a --codec.",
        )
    return name


def _keeps_hdr(encoding: EncodingOptions, suffix: str, source: VideoInfo) -> bool:
    """Whether a codec that keeps the light of an HDR source is taken without being asked for."""
    codec, side = _CODECS["hevc"], max(source.width, source.height)
    deep = is_hdr(source.color) and source.pix_fmt in {
        f"{fmt}{d}le" for fmt in codec.pix_fmts.values() for d in codec.depths
    }
    plain = not encoding.for_browsers and encoding.pix_fmt is None
    return plain and deep and suffix in codec.suffixes and side >= _HEVC_LEAST


def _choose_pix_fmt(name: str, source: VideoInfo) -> tuple[str, tuple[str, ...]]:
    codec, alpha = _CODECS[name], "+alpha" if source.has_alpha else ""
    notes = []
    chroma = wanted = _chroma(source.pix_fmt)
    # x264 and x265 refuse odd sizes in 4:2:0 and 4:2:2; FFmpeg's ProRes spoils the last columns of odd widths in 4:2:2.
    odd = source.width % 2 or (source.height % 2 and name != "prores")
    if name in ("h264", "hevc", "prores") and odd and chroma != "444":
        chroma = "444"
        notes.append(f"{source.width} x {source.height} pixels are odd, so {name} is written in 4:4:4")
    taken = next(kind for kind in (chroma, *_NEAREST[chroma]) if kind + alpha in codec.pix_fmts)
    if _CHROMA_SAMPLES[taken] < _CHROMA_SAMPLES[wanted]:
        notes.append(f"the colors of the source are {_spelled(wanted)}, {name} is written in {_spelled(taken)}")
    pix_fmt, depth = codec.pix_fmts[taken + alpha], color.bit_depth(source.pix_fmt)
    if depth in codec.depths and f"{pix_fmt}{depth}le" == source.pix_fmt:
        pix_fmt = source.pix_fmt
    keepable = in_parts(source.pix_fmt, source.width, source.height)
    if depth > 8 and not (keepable and pix_fmt == source.pix_fmt):
        way = "; hevc (.mp4, .mov, .mkv) and ffv1 (.mkv) keep them all" if keepable else ""
        notes.append(f"the {depth}-bit source is written with 8 bits of content per color{way}")
    if alpha and name == "vp9":
        notes.append("VP9 codes the alpha channel with loss; ProRes (.mov) and FFV1 (.mkv) keep it exactly")
    return pix_fmt, tuple(notes)


def _notes_for_browsers(source: VideoInfo) -> tuple[str, ...]:
    notes = []
    if source.has_alpha:
        notes.append("what is transparent in the source is black: browsers show no other video of this kind")
    if source.width % 2 or source.height % 2:
        notes.append(_ROW_REPEATED.format(source.width, source.height))
    chroma, depth = _chroma(source.pix_fmt), color.bit_depth(source.pix_fmt)
    if chroma != "420" or depth > 8:
        notes.append(
            f"the colors of the source are {_spelled(chroma)} with {depth} bits, those of the result 4:2:0 with 8"
        )
    return tuple(notes)


def _asked_pix_fmt(asked: str, name: str, source: VideoInfo) -> str:
    try:
        known = {fmt.name for fmt in av.Codec(_CODECS[name].encoder, "w").video_formats or ()}
    except ValueError as cause:
        raise EncoderError(
            f"This FFmpeg has no encoder {_CODECS[name].encoder}.", remedy="Choose another --codec."
        ) from cause
    if asked not in known:
        raise EncoderError(f"{name} has no pixel format '{asked}'.", remedy=f"It has {' '.join(sorted(known))}.")
    if source.has_alpha != color.has_alpha(asked):
        which = "an alpha channel, which {asked} would lose" if source.has_alpha else "no alpha channel for {asked}"
        raise EncoderError(f"The video has {which.format(asked=asked)}.", remedy="Ask for another pixel format.")
    return asked


def _tags(name: str, source: VideoInfo, pix_fmt: str) -> ColorTags:
    """The color tags of the source, unless the result is of another kind."""
    if color.is_rgb(pix_fmt):
        return replace(source.color, matrix=_UNSPECIFIED, full_range=None)
    if color.is_rgb(source.pix_fmt):
        return _BT709_VIDEO
    if name == "prores":  # cannot say that it has full range, so it never has
        return replace(source.color, full_range=False)
    return source.color


def _tone_mapped_tags(pix_fmt: str) -> ColorTags:
    return ColorTags(_UNSPECIFIED, 1, 1, None) if color.is_rgb(pix_fmt) else _BT709_VIDEO


def _chroma(pix_fmt: str) -> str:
    if color.is_rgb(pix_fmt):
        return "rgb"
    unit = 16  # pixels: divisible by every chroma subsampling there is
    layout = av.VideoFormat(pix_fmt, unit, unit)
    if len(layout.components) < 3:
        return "420"  # grey: players know no other form well
    if layout.chroma_width() == unit:
        return "444"
    return "422" if layout.chroma_height() == unit else "420"


def _spelled(chroma: str) -> str:
    return "RGB" if chroma == "rgb" else ":".join(chroma)


def _settings(name: str, encoding: EncodingOptions, pix_fmt: str, suffix: str, source: VideoInfo) -> dict[str, str]:
    codec = _CODECS[name]
    if encoding.preset not in PRESETS:
        raise EncoderError(f"There is no preset '{encoding.preset}'.", remedy=f"Choose one of {' '.join(PRESETS)}.")
    if not codec.crf:
        if encoding.crf is not None:
            raise EncoderError(f"{name} has no quality setting.", remedy="Leave out --crf, or choose another --codec.")
        return {"profile": "hq" if "422" in pix_fmt else "4444"} if name == "prores" else {}
    crf = codec.default_crf if encoding.crf is None else encoding.crf
    if crf not in codec.crf:
        raise EncoderError(
            f"{name} has no crf {crf}.", remedy=f"Choose one from 0 to {codec.crf[-1]}; lower is better."
        )
    if name == "vp9":
        speed = str(8 - PRESETS.index(encoding.preset))
        return {
            "crf": str(crf),
            "b": "0",
            "deadline": "good",
            "cpu-used": speed,
            "row-mt": "1",
            "lossless": str(int(crf == 0)),
        }
    settings = {"crf": str(crf), "preset": encoding.preset}
    # AVI has no presentation times, so frames cannot be reordered; MP4 measures in decoding order how long a frame is
    # shown, which is right for a variable rate only if the order is the same.
    in_order = suffix == ".avi" or source.variable_frame_rate
    if name == "hevc":
        settings["x265-params"] = "log-level=none" + (":bframes=0" if in_order else "") + _mastering(source.hdr)
        return settings
    if in_order:
        settings["bf"] = "0"
    if source.first_field:
        settings |= {"flags": "+ildct+ilme", "x264-params": f"{source.first_field[0]}ff=1"}
    if encoding.repeatable:
        settings["mbtree"] = "0"  # x264's rate control by macroblock tree gives one of two results (measured)
    return settings


def _mastering(hdr: HdrMetadata) -> str:
    """x265's parameters for what an HDR source says of its screen and light."""
    text = ""
    if hdr.mastering is not None:
        red, green, blue, white = (tuple(round(v * 50_000) for v in hdr.mastering[i : i + 2]) for i in (0, 2, 4, 6))
        least, most = (round(v * 10_000) for v in hdr.mastering[8:])
        points = (("G", green), ("B", blue), ("R", red), ("WP", white))
        text += ":master-display=" + "".join(f"{name}({x},{y})" for name, (x, y) in points) + f"L({most},{least})"
    return text if hdr.light is None else f"{text}:max-cll={hdr.light[0]},{hdr.light[1]}"
