"""Options and markers of the whole suite."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import cv2  # noqa: F401  must come before decord: the other order breaks OpenCV's PNG reading (zlib symbols clash)
import pytest
import torch
from hypothesis import HealthCheck, settings

from latentsync.inference import precision

# Files that take a minute and more, the longest first: begun last, one would keep a process busy while others wait.
LONG_FILES = (
    "page/test_browser.py",
    "page/test_coming_back.py",
    "inference/job/test_dub.py",
    "media/test_hostile.py",
    "training/unet/test_whole_run.py",
    "inference/test_pipeline.py",
    "training/unet/test_run.py",
    "training/syncnet/test_whole_run.py",
    "benchmarks/test_training_speed.py",
    "training/unet/test_memory.py",
    "preprocess/engine/test_hostile.py",
    "preprocess/test_training.py",
    "page/test_app.py",
    "page/test_endings.py",
    "page/test_uploads.py",
    "page/test_browser_limits.py",
    "page/test_server_memory.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run tests that take minutes or more than 4 GiB")


def pytest_configure() -> None:
    """No test of Hypothesis fails because the machine is slow. Of several processes that run tests, each gets its share
    of the cores, and so do the programs that it starts."""
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")
    if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
        threads = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
        torch.set_num_threads(threads)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def pytest_collection_finish() -> None:
    """Modules and tests live until the end: the collector of garbage need not look at all of them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def speed_of_the_processor() -> Iterator[None]:
    """Every dub asks for it, before it says what it will cost; here it is measured once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "measure_speed", functools.cache(precision.measure_speed))
        yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {}
    if not config.getoption("--slow"):
        reasons["slow"] = "takes minutes or much memory: run with --slow"
    if not torch.cuda.is_available():
        reasons["gpu"] = "needs a CUDA device"
    folder = Path(__file__).parent
    ranks = {folder / name: rank for rank, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
    for item in items:
        for marker, reason in reasons.items():
            if marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))
