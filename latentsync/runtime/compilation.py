"""Networks compiled for the machine by torch.compile: norms, activations and gates in one pass over memory each.

The first windows take minutes instead of seconds, once per network, shape and machine: the result is kept in the
user's cache. Worth it on a GPU and for long videos. On a CPU compiling the small built-in U-Net alone takes longer than
the sample's dub.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import nn

from latentsync.errors import ConfigError
from latentsync.places import compiled_folder

COMPILERS = ("c++", "g++", "clang++")
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
# With and without guidance, in full and with reused features; other numbers of windows where memory runs out, and the
# shorter last window of a published release. A usual run has one, or two with the step cache (``batching``).
VARIANTS = 32


def require_compiler(device_type: str, asked_by: str = "--compile") -> None:
    """Raise ``ConfigError`` if there is nothing here that torch.compile could compile with; ``asked_by``: the setting
    to leave out then."""
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([named] if named else COMPILERS)):
        raise ConfigError(
            "torch.compile needs a C++ compiler, and there is none.",
            remedy=f"Install one (Debian: apt-get install g++), or leave out {asked_by}.",
        )
    if device_type == "cuda" and importlib.util.find_spec("triton") is None:
        raise ConfigError(
            "torch.compile needs the package triton for this GPU, and it is not there.",
            remedy=f"Install it, or leave out {asked_by}.",
        )


def compile_in_place(network: nn.Module) -> None:
    """Have ``network`` compiled when it is first used; it keeps the names of its weights. The result is kept in the
    user's cache, unless ``TORCHINDUCTOR_CACHE_DIR`` names another place."""
    os.environ.setdefault(CACHE_VARIABLE, str(compiled_folder()))
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    network.compile(dynamic=False)  # few sizes, and fixed ones compile and run quicker
