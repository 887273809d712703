"""Packages, and whether what they bring works: OpenCV, the codecs of PyAV, torch on this machine's GPU."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

from latentsync.doctor.finding import Finding, Grade
from latentsync.extras import install_command, requirements
from latentsync.places import INSTALLED, ROOT

ENCODERS = ("libx264", "libx265", "libvpx-vp9", "ffv1", "prores_ks", "aac", "libopus")
DECODERS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "prores", "aac", "mp3", "opus", "vorbis", "flac")
USES = {"page": "the page", "data": "the data pipeline", "eval": "evaluation", "train": "training"}  # of extras
_REQUIREMENT = re.compile(r"([\w-]+)(?:>=([\d.]+))?")


def set_up(extra: str = "") -> str:
    """The command that completes this environment, for an ``extra`` if one is named."""
    if INSTALLED or extra:
        return install_command(extra)
    own = sys.prefix != sys.base_prefix and Path(sys.prefix) != ROOT / ".venv"
    words = [f"LATENTSYNC_VENV={shlex.quote(sys.prefix)}" if own else "", "./setup_env.sh"]
    return f"`{' '.join(filter(None, words))}`"


def check_packages() -> Iterator[Finding]:
    """Every package of the core is here, and new enough; what only a part of the program needs is a note."""
    faults = _lacking(requirements())
    if faults:
        yield Finding("packages", Grade.FAULT, f"missing or too old: {', '.join(faults)}.", f"Run {set_up()}.")
    else:
        yield Finding("packages", Grade.GOOD, f"all are here, for Python {sys.version.split()[0]}.")
    for extra, use in USES.items():
        lacking = _lacking(requirements(extra))
        if extra == "train" and importlib.util.find_spec("decord") is None:  # its name differs between platforms
            lacking.append("decord")
        if lacking:
            text = f"{', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not here; {use} cannot do without."
            yield Finding(extra, Grade.LIMIT, text, f"Run {set_up(extra)}.")


def check_opencv() -> Iterator[Finding]:
    """OpenCV loads: its usual build needs libGL and other libraries of the system."""
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        text = f"does not load ({error})."
        mend = "`python -m pip install --force-reinstall --no-deps opencv-python-headless`" if INSTALLED else set_up()
        yield Finding("OpenCV", Grade.FAULT, text, f"Run {mend}: that takes the build that needs no such library.")
    else:
        yield Finding("OpenCV", Grade.GOOD, f"{cv2.__version__} loads.")


def check_codecs() -> Iterator[Finding]:
    """PyAV's FFmpeg has what videos come in and results are written with."""
    import av

    lacking = [name for name in ENCODERS if not _has_codec(name, "w")]
    lacking += [name for name in DECODERS if not _has_codec(name, "r")]
    if lacking:
        text = f"PyAV {av.__version__} lacks {', '.join(lacking)}."
        remedy = "Run `python -m pip install --force-reinstall --only-binary=:all: av`: the wheel has them all."
        yield Finding("codecs", Grade.FAULT, text, remedy)
    else:
        yield Finding("codecs", Grade.GOOD, f"PyAV {av.__version__} reads and writes all that is used here.")


def check_gpu() -> Iterator[Finding]:
    """torch loads, and computes on the GPU if there is one."""
    import torch

    from latentsync.runtime.device import choose_device, unusable_gpu

    fault = unusable_gpu()
    if fault is not None:
        yield Finding("GPU", Grade.FAULT, fault.message, fault.remedy)
        return
    device = choose_device()
    if device.type == "cpu":
        yield Finding("GPU", Grade.GOOD, f"none; torch {torch.__version__} computes on the CPU.")
    else:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        yield Finding("GPU", Grade.GOOD, f"torch {torch.__version__} computes on {name}.")


def _lacking(lines: list[str]) -> list[str]:
    """The packages of requirements that are missing or older than asked for; those of some platforms are left out."""
    lacking = []
    for line in lines:
        if ";" in line or not (found := _REQUIREMENT.match(line)):
            continue
        name, least = found.groups()
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name != "opencv-python" or not _is_installed("opencv-python-headless"):
                lacking.append(name)
            continue
        if least is not None and _numbers(version) < _numbers(least):
            lacking.append(f"{name} {version} (from {least} on)")
    return lacking


def _is_installed(name: str) -> bool:
    return any(True for _ in metadata.distributions(name=name))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    import av

    try:
        av.Codec(name, mode)
    except av.codec.codec.UnknownCodecError:
        return False
    return True
