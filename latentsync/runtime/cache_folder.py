"""The folder of what is kept from one run to the next: detected faces and compiled networks."""

from __future__ import annotations

import os
from pathlib import Path

from latentsync.errors import ConfigError


def cache_folder() -> Path:
    """Where this user's cache is: ``$LATENTSYNC_CACHE``, or else ``$XDG_CACHE_HOME/latentsync``, or else
    ``~/.cache/latentsync``; it need not exist. Raises ``ConfigError`` for a user who has no home."""
    if own := os.environ.get("LATENTSYNC_CACHE"):
        return Path(own)
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
