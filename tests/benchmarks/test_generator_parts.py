import pytest
import torch

from benchmarks.generator_parts import PartTimer, Watched, idle_share, watch_device


@pytest.mark.parametrize(
    ("spans", "share"),
    [
        ([], None),
        ([(2, 2)], None),
        ([(0, 10)], 0.0),
        ([(0, 1), (3, 4)], 0.5),
        ([(3, 4), (0, 2), (1, 2)], 0.25),  # any order, overlapping streams
        ([(0, 4), (1, 2), (3, 4)], 0.0),
    ],
)
def test_idle_share_is_what_no_kernel_covers(spans, share):
    assert idle_share(spans) == share


def test_a_watched_network_is_timed_and_otherwise_its_own():
    timer = PartTimer(torch.device("cpu"))
    network = torch.nn.Linear(2, 3)
    watched = Watched(network, forward=timer.timed("whole", network))
    assert watched(torch.zeros(1, 2)).shape == (1, 3)
    assert watched.in_features == 2
    assert list(timer.seconds()) == ["whole"]
    assert timer.seconds()["whole"] > 0


def test_without_a_gpu_there_is_no_idle_share():
    with watch_device(torch.device("cpu")) as idleness:
        pass
    assert idleness.share is None
