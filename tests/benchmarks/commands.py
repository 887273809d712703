"""Running a benchmark as its command does, in this process."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch


def run_benchmark(
    module: ModuleType, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """The JSON that ``python -m <module> <arguments>`` prints last; the heaps of this process stay as they are."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", [module.__file__, *arguments])
    if hasattr(module, "keep_freed_memory"):
        monkeypatch.setattr(module, "keep_freed_memory", lambda: None)
    try:
        module.main()
    finally:
        torch.set_num_threads(threads)
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])
