"""The same work in Ray's processes: same result, crashes survived, a cluster of two nodes. Slow: Ray takes its time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentsync.preprocess.settings import EngineSettings
from latentsync.preprocess.steps.sequence import steps_of
from tests.preprocess.world import DrawnNetworks, contents, draw_talk, preprocess, reasons_of, small_settings, tree_hash

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


class CrashingNetworks(DrawnNetworks):
    """Dies with its process on images of two faces."""

    def __init__(self, settings, device):
        super().__init__(settings, device)
        detect = self.detector.detect

        def look(frames):
            found = detect(frames)
            if any(len(faces) > 1 for faces in found):
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        self.detector.detect = look


@pytest.fixture
def raw(tmp_path) -> Path:
    for seed in range(4):
        draw_talk(tmp_path / "raw" / f"{seed}.mp4", seed=seed, offset=seed)
    return tmp_path / "raw"


@pytest.fixture
def calm(tmp_path, raw) -> Path:
    preprocess(small_settings(raw, tmp_path / "calm"), DrawnNetworks)
    return tmp_path / "calm"


def require_equal(one: Path, other: Path) -> None:
    for step in steps_of(small_settings(one)):
        assert contents(one / step.name) == contents(other / step.name), step.name


def test_two_workers_give_what_one_process_gives(tmp_path, raw, calm):
    preprocess(small_settings(raw, tmp_path / "two", engine=EngineSettings(workers=2)), DrawnNetworks)
    require_equal(tmp_path / "two", calm)


def test_a_clip_that_crashes_its_worker_costs_that_clip_only(tmp_path, raw):
    draw_talk(raw / "two faces.mp4", 1.4, seed=9, faces=2)
    preprocess(small_settings(raw, tmp_path / "out", engine=EngineSettings(workers=2)), CrashingNetworks)
    reasons = reasons_of(tmp_path / "out", raw)
    assert reasons.pop("two faces.mp4") == "crash"
    assert set(reasons.values()) == {""}


def test_two_nodes_give_the_same(tmp_path, raw, calm):
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = str(ROOT)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        engine = EngineSettings(ray_address=cluster.address)
        preprocess(small_settings(raw, tmp_path / "nodes", engine=engine), DrawnNetworks)
    finally:
        cluster.shutdown()
    require_equal(tmp_path / "nodes", calm)


def test_a_killed_run_goes_on(tmp_path, raw, calm):
    code = (
        "from pathlib import Path\n"
        "from latentsync.preprocess.engine.runner import preprocess\n"
        "from latentsync.preprocess.settings import EngineSettings\n"
        "from tests.preprocess.world import DrawnNetworks, small_settings\n"
        f"preprocess(small_settings(Path({str(raw)!r}), Path({str(tmp_path / 'killed')!r}),"
        " engine=EngineSettings(workers=2)), DrawnNetworks)\n"
    )
    moments, before = random.Random(3), tree_hash(raw)
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if any((tmp_path / "killed" / "resampled").glob("*.mp4")):
                time.sleep(moments.uniform(0, 3))
                break
            time.sleep(0.2)
        process.kill()
        process.wait()
    assert tree_hash(raw) == before
    preprocess(small_settings(raw, tmp_path / "killed"), DrawnNetworks)
    require_equal(tmp_path / "killed", calm)
