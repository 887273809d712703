"""Weight files: recognise, check, read, write, fetch. Names load on first use, so importing the package is light."""

from importlib import import_module
from typing import Any

_HOMES = {
    "WeightsCard": "card",
    "read_card": "card",
    "require_resolution": "card",
    "count_parameters": "files",
    "inspect_file": "files",
    "sha256_file": "files",
    "save_weights": "tensors",
    "AdapterChoice": "adapter",
    "read_adapter": "adapter",
    "require_base": "adapter",
    "load_unet": "unet",
    "load_unet_weights": "unet",
    "start_unet": "unet",
    "load_syncnet": "syncnet",
    "load_codec": "codec",
    "build_codec": "codec",
    "latent_signature": "codec",
    "require_latents": "codec",
    "save_codec": "codec",
    "load_whisper_weights": "whisper",
    "save_whisper": "whisper",
    "load_videomae": "videomae",
    "load_lpips": "lpips",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
