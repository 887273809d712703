"""Networks translated by torch.compile: what is asked of the machine before a run begins."""

from __future__ import annotations

import pytest

from latentsync.errors import ConfigError
from latentsync.runtime import compilation as compiling


def test_without_a_compiler_the_run_is_refused_before_it_begins(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler"):
        compiling.require_compiler("cpu")


def test_a_gpu_needs_triton_as_well(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    compiling.require_compiler("cpu")
    with pytest.raises(ConfigError, match="triton"):
        compiling.require_compiler("cuda")
