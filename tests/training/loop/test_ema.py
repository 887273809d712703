"""The running average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latentsync.training.loop.ema import EMA


def test_it_follows_the_weights_and_is_only_lent_to_the_network():
    parameter = nn.Parameter(torch.zeros(3))
    average = EMA([parameter], decay=0.9)
    expected = 0.0
    for n in range(1, 101):
        with torch.no_grad():
            parameter.fill_(float(n))
        average.update()
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    with average.applied():
        with average.applied():  # changes nothing
            assert parameter.detach().tolist() == pytest.approx([expected] * 3, rel=1e-5)
        assert parameter.detach().tolist() == pytest.approx([expected] * 3, rel=1e-5)
    assert parameter.detach().tolist() == [100.0] * 3
    with average.applied():
        assert parameter.detach().tolist() == pytest.approx([expected] * 3, rel=1e-5)


def test_the_network_gets_its_weights_back_after_an_error():
    parameter = nn.Parameter(torch.zeros(1))
    average = EMA([parameter], decay=0.5)
    with torch.no_grad():
        parameter.fill_(1.0)
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert parameter.item() == 1.0


def test_a_restored_average_goes_on_as_the_stored_one():
    one, two = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    first, second = EMA([one], 0.99), EMA([two], 0.99)
    for average, parameter in ((first, one), (first, one), (second, two)):
        with torch.no_grad():
            parameter.add_(1)
        average.update()
    second.load_state_dict(first.state_dict())
    for average, parameter in ((first, one), (second, two)):
        with torch.no_grad():
            parameter.fill_(5.0)
        average.update()
    with first.applied(), second.applied():
        assert torch.equal(one, two)
