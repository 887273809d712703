"""Loader workers where /dev/shm is small, as in a container."""

from __future__ import annotations

import logging
import shutil
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from latentsync.data.clip_dataset import SampleKey
from latentsync.runtime import shared_memory
from latentsync.runtime.shared_memory import workers_that_fit
from latentsync.training.loop.validation import loader_of
from tests.training.toy import PointSet, ToyTask

MIB = 2**20


BATCHES = count()


def a_mebibyte():
    """Pickled, a few bytes longer every time: a pickled tensor has the address of its storage in it."""
    return torch.zeros(MIB + next(BATCHES), dtype=torch.uint8)


@pytest.fixture
def small(monkeypatch):
    """Sets how much is free."""

    def set_free(n_bytes):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=n_bytes))

    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    shared_memory._warned.clear()
    return set_free


@pytest.mark.parametrize(("free", "processes", "workers"), [(64, 1, 5), (64, 2, 2), (11, 1, 0), (2000, 1, 12)])
def test_as_many_workers_as_there_is_room_for(small, monkeypatch, caplog, free, processes, workers):
    small(free * MIB)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    with caplog.at_level(logging.WARNING):
        assert workers_that_fit(12, a_mebibyte, batch_size=4) == workers
        assert workers_that_fit(12, a_mebibyte, batch_size=4) == workers
    assert len(caplog.records) == (workers < 12), "said once"
    assert all("--shm-size" in record.getMessage() for record in caplog.records)


def test_where_there_is_plenty_nothing_is_loaded(small):
    small(shared_memory.PLENTY)
    assert workers_that_fit(12, lambda: pytest.fail("loaded"), batch_size=4) == 12


def test_where_there_is_no_such_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path / "none")
    assert workers_that_fit(3, lambda: pytest.fail("loaded"), batch_size=4) == 3


@pytest.mark.parametrize(("free", "workers"), [(0, 0), (64 * MIB, 2)])
def test_a_loader_has_the_workers_that_fit(small, free, workers):
    small(free)
    keys = [SampleKey(0, number) for number in range(4)]
    loader = loader_of(PointSet(), keys, 2, ToyTask.collate, torch.device("cpu"), num_workers=2)
    assert loader.num_workers == workers
    assert loader_of(PointSet(), [], 2, ToyTask.collate, torch.device("cpu"), num_workers=2).num_workers == 0
