"""An empty manifest of one recording."""

from __future__ import annotations

import pytest

from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.manifest import Journal, write_journal
from tests.preprocess.world import SOURCE


@pytest.fixture
def layout(tmp_path) -> Layout:
    (tmp_path / "raw").mkdir()
    found = Layout.of(tmp_path / "raw", None)
    found.scratch.mkdir(parents=True)
    write_journal(found, Journal(SOURCE, "a.mp4", "a.mp4", {}))
    return found
