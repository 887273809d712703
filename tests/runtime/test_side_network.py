"""A network beside a larger one: one copy back, and half precision where it changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.runtime.side_network import SideNetwork, agrees_in_half

CPU = torch.device("cpu")


def test_answers_of_any_shape_come_back_together_and_as_they_were():
    answers = [torch.randn(2, 3, 4), torch.arange(10).reshape(2, 5), torch.randn(2, 1).half()]
    found = SideNetwork(CPU).fetch(answers)
    for wanted, each in zip(answers, found, strict=True):
        assert each.dtype == np.float32 and np.array_equal(each, wanted.float().numpy())


def test_answers_come_back_by_one_copy(monkeypatch):
    """On a device without memory: the copy itself is taken away, its number is what counts."""
    copies = []

    def copied(tensor):
        copies.append(tensor.shape)
        return torch.zeros(tensor.shape)

    monkeypatch.setattr(torch.Tensor, "cpu", copied)
    found = SideNetwork(torch.device("meta")).fetch([torch.empty(2, 3, 4, device="meta")] * 5)
    assert copies == [(2, 60)]
    assert [each.shape for each in found] == [(2, 3, 4)] * 5


@pytest.mark.parametrize(("scale", "agrees"), [(1.0, True), (1e3, False)])
def test_half_precision_only_where_it_gives_the_same(scale, agrees):
    """A norm over channels, as S3FD has them: large activations overflow in half precision."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 8, 3, padding=1)

    def network(images):
        hidden = convolution(images * scale)
        return hidden / (hidden * hidden).sum(dim=1, keepdim=True).sqrt()

    assert agrees_in_half(network, torch.rand(1, 3, 16, 16)) == agrees


def test_a_cpu_stays_in_single_precision():
    assert not SideNetwork(CPU).try_half((lambda images: images, torch.ones(1)))


@pytest.mark.gpu
def test_on_a_gpu_it_has_a_stream_of_high_priority_and_half_precision():
    device = torch.device("cuda")
    beside = SideNetwork(device)
    convolution = torch.nn.Conv2d(3, 8, 3).to(device)
    assert beside.try_half((convolution, torch.rand(1, 3, 16, 16)))
    with beside.at_work():
        stream = torch.cuda.current_stream(device)
        assert stream != torch.cuda.default_stream(device) and stream.priority < 0
        answer = convolution(beside.send(np.ones((1, 3, 16, 16), np.float32)))
        assert answer.dtype == torch.float16
        (found,) = beside.fetch([answer])
    assert found.dtype == np.float32 and np.isfinite(found).all()
