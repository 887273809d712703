"""From frames and audio to frames whose mouth follows the audio; in ``job`` the same from files to a file.

``LipsyncPipeline`` and ``load_pipeline`` can be imported from here. They are loaded at first use, so importing the
package loads no framework.
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
