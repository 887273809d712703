"""What the networks must compute, and how long that takes at best: python -m benchmarks.roofline --output out/roof.json

Operations are counted by torch on tensors without values, so nothing is computed and no weights are needed; a multiply
and an add are two. A guided call is counted as it is made: what its halves share once. Rows, one for every model and
preset, per second of video at 25 fps: TFLOP of the U-Net, of the two encodings and of the decoding; floors in seconds
at ``--utilisation`` of the peak of an H200 (989 TFLOP/s, dense fp16 or bf16) and of this machine's processor, whose
peak is that of a matrix product in float32, the best of several.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import BUILTIN, TOPOLOGIES, load_networks
from benchmarks.report import publish
from latentsync.constants import LATENT_DOWNSCALE, MODEL_FPS, WINDOW_FRAMES
from latentsync.diffusion.conditioning import Conditioning
from latentsync.diffusion.sampler import sample
from latentsync.diffusion.settings import SamplerSettings
from latentsync.inference.options import PRESETS
from latentsync.inference.precision import measure_speed
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.types import FeatureCache
from tests.models.published import on_meta

MODELS = ("1.5", "1.6", BUILTIN)
H200_TFLOPS = 989.0
AUDIO_TOKENS = 50
Call = tuple[bool, bool]  # of the U-Net: guided, reusing deep features


class Counted:
    """The networks of a model without values; ``resolution`` is the face side R."""

    def __init__(self, model: str) -> None:
        if model == BUILTIN:
            networks = load_networks(model, torch.device("cpu"), torch.float32)
            self.unet, self.codec = networks.models.unet.to("meta"), networks.models.codec.to("meta")
            self.resolution = networks.settings.resolution
            return
        topology = TOPOLOGIES[model]
        self.unet = on_meta(lambda: UNet3D(topology.unet)).eval()
        self.codec = LatentCodec(on_meta(lambda: AutoencoderKL.from_config(topology.codec))).eval()
        self.resolution = topology.resolution

    def codec_flops(self) -> tuple[float, float]:
        """Of encoding one image and of decoding one."""
        side = self.resolution // LATENT_DOWNSCALE
        image = torch.empty(1, 3, self.resolution, self.resolution, device="meta")
        latents = torch.empty(1, self.unet.config.out_channels, side, side, device="meta")
        return _flops(lambda: self.codec.encode(image)), _flops(lambda: self.codec.decode(latents))

    def unet_flops(self) -> dict[Call, float]:
        """Of each kind of call for one window. A guided one is two evaluations."""
        config = self.unet.config
        side = self.resolution // LATENT_DOWNSCALE
        seen = torch.empty(1, config.in_channels, WINDOW_FRAMES, side, side, device="meta")
        audio = torch.empty(1, WINDOW_FRAMES, AUDIO_TOKENS, config.cross_attention_dim, device="meta")
        time = torch.zeros((), device="meta")
        counted = {}
        for guided in (False, True):
            cache = FeatureCache()
            for reuse in (False, True):
                cache.reuse = reuse
                call = partial(self.unet, seen, time, audio, feature_cache=cache, guided=guided)
                counted[guided, reuse] = _flops(call)
        return counted


def calls(sampler: SamplerSettings) -> Counter[Call]:
    """What the sampler asks of the network for one window."""
    counted: Counter[Call] = Counter()

    def denoiser(
        unet_input: Tensor, timestep: Tensor, audio: Tensor, *, feature_cache: FeatureCache | None, guided: bool
    ) -> Tensor:
        reuse = feature_cache is not None and feature_cache.reuse
        counted[guided, reuse] += 1
        images = unet_input.repeat(1 + guided, 1, 1, 1, 1)
        if feature_cache is not None and not reuse:
            feature_cache.hidden = images
        return images[:, :1]

    one = torch.zeros(1, 1, 1, 1, 1)
    sample(denoiser, Conditioning(one, one, one), torch.zeros(1, 1, 1, 1), one, sampler)
    return counted


def evaluations(counted: Counter[Call]) -> list[int]:
    """Of the whole network, and of what remains when deep features are reused."""
    return [sum(n * (1 + guided) for (guided, reuse), n in counted.items() if reuse is kind) for kind in (False, True)]


@torch.no_grad()
def _flops(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def measure(model: str, presets: list[str], utilisation: float, processor_tflops: float) -> list[dict]:
    """A row for each preset."""
    networks = Counted(model)
    encode, decode = (MODEL_FPS * flops / 1e12 for flops in networks.codec_flops())
    per_frame = {call: flops / WINDOW_FRAMES for call, flops in networks.unet_flops().items()}
    rows = []
    for preset in presets:
        counted = calls(PRESETS[preset])
        unet = MODEL_FPS * sum(n * per_frame[call] for call, n in counted.items()) / 1e12
        whole = unet + 2 * encode + decode
        rows.append(
            {
                "model": model,
                "resolution": networks.resolution,
                "preset": preset,
                "passes": evaluations(counted),
                "unet_pass_gflop_per_frame": [per_frame[False, reuse] / 1e9 for reuse in (False, True)],
                "unet_guided_pass_gflop_per_frame": [per_frame[True, reuse] / 1e9 for reuse in (False, True)],
                "tflop": {"unet": unet, "encode": 2 * encode, "decode": decode, "all": whole},
                "h200_floor_seconds": whole / (utilisation * H200_TFLOPS),
                "processor_floor_seconds": whole / (utilisation * processor_tflops),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="some of %(default)s, efficient, tiny (these)")
    parser.add_argument("--presets", default=",".join(PRESETS), help="some of %(default)s (all)")
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of the peak (%(default)s)")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    speed = max(measure_speed(torch.device("cpu"), torch.float32, 2048) for _ in range(3)) / 1e12
    rows = []
    for model in options.models.split(","):
        rows += measure(model, options.presets.split(","), options.utilisation, speed)
    figures = {"utilisation": options.utilisation, "h200_tflops": H200_TFLOPS, "processor_tflops": speed, "rows": rows}
    publish("roofline", figures, output=options.output)


if __name__ == "__main__":
    main()
