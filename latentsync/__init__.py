"""LatentSync: audio-conditioned latent diffusion for lip synchronisation (arXiv 2412.09262).

    import latentsync

    pipeline = latentsync.load()
    pipeline.dub("in.mp4", "speech.wav", "out.mp4")

Start reading at ``types.py``, then ``inference/pipeline.py``. Importing this package loads nothing heavy: the names
below are imported when they are used.
"""

from typing import TYPE_CHECKING, Any

from latentsync.constants import VERSION

if TYPE_CHECKING:
    from latentsync.errors import LatentSyncError
    from latentsync.inference.job.request import DubRequest
    from latentsync.inference.options import SyncOptions
    from latentsync.library import Pipeline, load

__version__ = VERSION
__all__ = ["DubRequest", "LatentSyncError", "Pipeline", "SyncOptions", "__version__", "load"]

_HOMES = {
    "DubRequest": "latentsync.inference.job.request",
    "LatentSyncError": "latentsync.errors",
    "Pipeline": "latentsync.library",
    "SyncOptions": "latentsync.inference.options",
    "load": "latentsync.library",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
