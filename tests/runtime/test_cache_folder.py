"""The folder of what is kept from one run to the next."""

from __future__ import annotations

from latentsync.runtime.cache_folder import cache_folder


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("LATENTSYNC_CACHE", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "latentsync"
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
