"""A small result to look at."""

from __future__ import annotations

import pytest

from tests.preprocess.world import DrawnNetworks, draw_talk, preprocess, small_settings


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A result of three recordings by two speakers, one of whom is dropped, and a file of words."""
    folder = tmp_path_factory.mktemp("result")
    raw = folder / "raw"
    draw_talk(raw / "Ann" / "a.mp4", 2.4)
    draw_talk(raw / "Bob" / "b.mp4", 3.4, seed=1, offset=3)
    draw_talk(raw / "Bob" / "<none>.mp4", 2.0, seed=2, faces=0)
    (raw / "words.txt").write_text("words")
    draw_talk(raw / "Bob" / "short.mp4", 0.6, seed=3)
    preprocess(small_settings(raw), DrawnNetworks)
    return folder
