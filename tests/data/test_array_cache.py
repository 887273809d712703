"""The cache on disk: by content, whole files only."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.data.array_cache import ArrayCache


def test_an_array_is_computed_once_per_content(tmp_path):
    cache, calls = ArrayCache(tmp_path), []

    def compute(value):
        calls.append(value)
        return np.full(3, value)

    assert cache.get("aa11", lambda: compute(1)).tolist() == [1, 1, 1]
    assert cache.get("aa22", lambda: compute(2)).tolist() == [2, 2, 2]
    assert ArrayCache(tmp_path).get("aa11", lambda: compute(3)).tolist() == [1, 1, 1]
    assert calls == [1, 2]


def test_a_damaged_file_is_computed_again(tmp_path, caplog):
    cache = ArrayCache(tmp_path)
    cache.get("aa", lambda: np.arange(1000))
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:500])
    assert cache.get("aa", lambda: np.arange(1000)).sum() == 499_500
    assert "damaged" in caplog.text
    assert np.load(path).sum() == 499_500


def test_a_failed_computation_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError):
        ArrayCache(tmp_path).get("aa", lambda: 1 / 0)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
