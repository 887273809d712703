"""Whole dubs by a painting network: killed, and on two nodes of which one dies. Slow; BATCH_JOBS says how many (40)."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.service.batch.painted import begin, ended, failed, make_jobs

pytestmark = pytest.mark.slow
COUNT = int(os.environ.get("BATCH_JOBS", 40))


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> tuple[Path, set[str]]:
    folder = tmp_path_factory.mktemp("trial")
    return folder, make_jobs(folder, COUNT)


def wait_for(process, folder, out, share):
    """Until so large a share of all jobs has been dubbed."""
    while process.poll() is None and len(ended(folder, out)) < COUNT * share:
        time.sleep(0.02)
    assert process.poll() is None


@pytest.fixture(scope="module")
def local(trial):
    """A batch that was killed twice: the bytes of its results by name."""
    folder, broken = trial
    for share in (0.2, 0.6):
        with begin(folder, "local") as process:
            wait_for(process, folder, "local", share)
            process.send_signal(signal.SIGKILL)
    with begin(folder, "local") as process:
        assert process.wait() == 1
    return results(folder, "local")


def results(folder, out):
    return {path.stem: path.read_bytes() for path in (folder / out).glob("*.mp4")}


def test_killed_twice_each_is_done_once_and_the_broken_ones_are_named(trial, local):
    folder, broken = trial
    assert failed(folder, "local") == broken
    assert len(local) == COUNT - len(broken) and not broken & local.keys()
    times = Counter(ended(folder, "local"))
    # A kill between the end of a dub and its line in the journal does it no second time: the result is recognised.
    assert times.keys() >= local.keys() and max(times.values()) == 1
    print(f"{COUNT} jobs, {len(broken)} broken: {len(times)} dubs ended, of these {len(local)} results")


def test_two_nodes_of_which_one_dies_give_the_same(trial, local):
    folder, broken = trial
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from tests.service.batch.stand_in import ROOT

    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["LOG"] = str(folder / "ray.log")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        lost = cluster.add_node(num_cpus=1)
        with begin(folder, "ray", "--ray", cluster.address) as process:
            wait_for(process, folder, "ray", 0.3)
            cluster.remove_node(lost, allow_graceful=False)
            assert process.wait() == 1
    finally:
        cluster.shutdown()
    assert failed(folder, "ray") == broken
    assert results(folder, "ray") == local
    print((folder / "ray.txt").read_text()[:200], Counter(Counter(ended(folder, "ray")).values()))
