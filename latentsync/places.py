"""Where the files of this program are, and where it puts what it fetches and keeps: the one module that knows.

A checkout has ``configs/``, ``assets/``, ``docs/`` and ``checkpoints/`` beside the package. A wheel has the same
folders inside the package, in ``shipped/``, with the built-in models only: what is fetched then goes below the user's
own folder.

| | a checkout | installed |
|---|---|---|
| configurations, the sample, pages, built-in models | ``ROOT`` is the checkout | ``ROOT`` is ``latentsync/shipped`` |
| weights that were fetched | ``checkpoints/`` | ``$LATENTSYNC_HOME/checkpoints``, or below the platform's data folder |
| caches | ``$LATENTSYNC_CACHE``, else the user's cache folder | the same, or ``$LATENTSYNC_HOME/cache`` |
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from latentsync.errors import ConfigError

PACKAGE = Path(str(resources.files("latentsync")))
INSTALLED = (PACKAGE / "shipped").is_dir()  # from a wheel; pyproject.toml maps the folders there
ROOT = PACKAGE / "shipped" if INSTALLED else PACKAGE.parent  # of what comes with the program
CONFIGS, ASSETS, BUILTIN = ROOT / "configs", ROOT / "assets", ROOT / "checkpoints" / "builtin"
BUILTIN_SYNCNET = BUILTIN / "syncnet.safetensors"  # of the recipe BUILTIN_SYNCNET_CONFIG
BUILTIN_SYNCNET_CONFIG = CONFIGS / "syncnet" / "builtin.yaml"
SAMPLE_VIDEO, SAMPLE_AUDIO, SAMPLE_FACES = (
    ASSETS / name for name in ("sample_video.mp4", "sample_audio.wav", "sample_faces.npz")
)


def _weights_folder() -> Path:
    if not INSTALLED:
        return ROOT / "checkpoints"
    if own := os.environ.get("LATENTSYNC_HOME"):
        return Path(own).absolute() / "checkpoints"
    from platformdirs import user_data_path

    return user_data_path("latentsync", appauthor=False) / "checkpoints"


WEIGHTS = _weights_folder()  # of all weights but the built-in ones; need not exist
AUXILIARY = WEIGHTS / "auxiliary"  # of detectors and of networks that only score


def find(name: str | Path) -> Path:
    """The file or folder that ``name`` means: itself where it exists or is no relative path, else what this program has
    under that name: ``configs/unet/stage1.yaml`` and ``checkpoints/vae`` can be named in any folder. What is nowhere is
    returned as it is.
    """
    path = Path(name)
    if path.is_absolute() or path.exists():
        return path
    below = WEIGHTS.joinpath(*path.parts[1:]) if path.parts[:1] == ("checkpoints",) else None
    return next((each for each in (ROOT / path, below) if each is not None and each.exists()), path)


def cache_folder() -> Path:
    """Where this user's cache is: ``$LATENTSYNC_CACHE``, or else ``$LATENTSYNC_HOME/cache`` of an installed program, or
    else ``$XDG_CACHE_HOME/latentsync``, or else ``~/.cache/latentsync``; it need not exist.

    Raises ``ConfigError`` for a user who has no home.
    """
    if own := os.environ.get("LATENTSYNC_CACHE"):
        return Path(own)
    if INSTALLED and (home := os.environ.get("LATENTSYNC_HOME")):
        return Path(home).absolute() / "cache"
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentsync"
    except RuntimeError as error:
        raise ConfigError("You have no home folder for a cache.", remedy="Name one with LATENTSYNC_CACHE.") from error


def faces_folder(cache: Path | None = None) -> Path:
    """The detections of ``face.detection_cache``, in another ``cache`` if one is named. Raises as ``cache_folder``."""
    return (cache or cache_folder()) / "faces"


def compiled_folder() -> Path:
    """The networks of ``runtime.compilation``. Raises as ``cache_folder``."""
    return cache_folder() / "compiled"
