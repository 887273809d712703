"""Where files are, in a checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentsync import places

ROOT = Path(__file__).parents[1]


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("LATENTSYNC_CACHE", raising=False)
    assert places.cache_folder() == tmp_path / "xdg" / "latentsync"
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "own"))
    assert places.cache_folder() == tmp_path / "own"


def test_a_checkout_keeps_its_checkpoints():
    assert not places.INSTALLED and places.ROOT == ROOT
    assert places.WEIGHTS == ROOT / "checkpoints" == places.BUILTIN.parent


@pytest.mark.parametrize("name", ["configs/unet/stage1.yaml", "checkpoints/builtin", "assets/sample_video.mp4"])
def test_what_comes_with_the_program_is_found_from_any_folder(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    assert places.find(name) == ROOT / name
    assert places.find(tmp_path / name) == tmp_path / name
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert places.find(name) == Path(name), "what is here comes first"


def test_what_is_nowhere_stays_as_it_is(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert places.find("configs/none.yaml") == Path("configs/none.yaml")
