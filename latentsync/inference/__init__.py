"""From a video and a sound track to a video whose mouth follows the sound.

``LipsyncPipeline`` and ``load_pipeline`` are importable from here; they are resolved on first use, so that importing
the package costs nothing.
"""

from typing import Any

_HOMES = {
    "LipsyncPipeline": "latentsync.inference.pipeline",
    "load_pipeline": "latentsync.inference.loading",
}
__all__ = ["LipsyncPipeline", "load_pipeline"]  # resolved by __getattr__


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
