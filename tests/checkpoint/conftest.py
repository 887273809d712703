"""A mirror that every download in these tests goes to; no test here reaches the internet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from latentsync.checkpoint import transfer
from tests.checkpoint.mirror import Mirror


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    served = Mirror()
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    yield served
    served.close()
