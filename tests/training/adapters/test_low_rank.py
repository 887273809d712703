"""The changes that are trained are those that a dub merges."""

from __future__ import annotations

import torch

from latentsync.checkpoint.adapter import LowRank
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.training.adapters.low_rank import attach, factors_of, merged
from tests.golden import fill_by_rule, rule_input

CONFIG = UNetConfig(block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=16)
SHAPE = LowRank(3, 6)


def run(network: UNet3D) -> torch.Tensor:
    sample, audio = rule_input("sample", (1, 13, 2, 4, 4)), rule_input("audio", (1, 2, 5, 16))
    with torch.no_grad():
        return network.eval()(sample, torch.tensor(7), audio)


def test_merged_equals_unmerged() -> None:
    torch.manual_seed(0)
    plain = fill_by_rule(UNet3D(CONFIG))
    expected = run(plain)
    names = set(plain.state_dict())
    network = attach(plain, SHAPE)
    torch.testing.assert_close(run(network), expected)  # nothing is changed yet
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert trained and all(".lora_" in name for name in trained)
    with torch.no_grad():
        for name in trained:
            if ".lora_B." in name:
                network.get_parameter(name).normal_(std=0.1)
    unmerged = run(network)
    assert (unmerged - expected).norm() > 0.01 * expected.norm()
    state = network.state_dict()
    assert len(factors_of(state)) == len(trained)
    weights = merged(state, SHAPE)
    assert set(weights) == names
    other = UNet3D(CONFIG)
    other.load_state_dict(weights)
    torch.testing.assert_close(run(other), unmerged, rtol=1e-4, atol=1e-5 * float(unmerged.abs().max()))
