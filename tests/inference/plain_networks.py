"""Networks that are a line each, for tests of what happens around them."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from latentsync.inference.latent_generator import LatentModels


class PlainCodec:
    """Means of 8 x 8 pixels and back."""

    def __init__(self):
        self.encoded = []

    def encode(self, pixels, draws=None):
        self.encoded.append(tuple(pixels.shape))
        small = torch.nn.functional.avg_pool2d(pixels, 8)
        return torch.cat([small, small[:, :1]], dim=1)

    def decode(self, latents):
        return latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3)


class PlainDenoiser:
    """A tenth of its input; ``at_work`` is called in each evaluation."""

    config = SimpleNamespace(out_channels=4)

    def __init__(self, at_work=lambda: None):
        self.at_work = at_work

    def __call__(self, sample, timestep, audio, *, feature_cache=None, guided=False):
        self.at_work()
        heard = 0.1 * sample[:, :4] + audio.mean()
        return torch.cat([0.1 * sample[:, :4], heard]) if guided else heard


def models_on(device, dtype, at_work=lambda: None):
    return LatentModels(PlainDenoiser(at_work), PlainCodec(), torch.device(device), dtype)
