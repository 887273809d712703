"""The full-size 1.5 network from file to file: python -m benchmarks.full_size_dub --video V --audio A --faces DIR

Fills the 1.267 G-parameter U-Net, the sd-vae-ft-mse topology and Whisper tiny with rule weights (the cost of trained
ones), writes them in the published layout, and dubs the first two windows. Prints one JSON line: seconds by stage, peak
memory, the file that was written. Needs 6 GB of disk and 12 GB of memory on a CPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import wave
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import peak_rss

WINDOWS = 2
TINY = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4} | {
    "n_vocab": 51865,
    "n_text_ctx": 448,
    "n_text_state": 384,
    "n_text_head": 6,
    "n_text_layer": 4,
}


def write_weights(folder: Path, faces: Path) -> None:
    """The published layout under ``folder``, every tensor by the weight rule; detector files from ``faces``."""
    import torch
    from diffusers import AutoencoderKL
    from whisper.model import ModelDimensions

    from latentsync.checkpoint.card import WeightsCard, write_sidecar
    from latentsync.checkpoint.codec import SD_VAE_CONFIG
    from latentsync.checkpoint.files import fingerprint
    from latentsync.models.unet import UNet3D, UNetConfig
    from latentsync.models.whisper import WhisperTaps
    from tests.golden import fill_by_rule

    (folder / "whisper").mkdir(parents=True)
    unet = folder / "latentsync_unet.pt"
    torch.save({"global_step": 0, "state_dict": fill_by_rule(UNet3D(UNetConfig())).state_dict()}, unet)
    write_sidecar(unet, WeightsCard(kind="unet", release="1.5", resolution=256, fingerprint=fingerprint(unet)))
    fill_by_rule(AutoencoderKL.from_config(SD_VAE_CONFIG)).save_pretrained(folder / "vae")
    dims = ModelDimensions(**TINY)
    state = fill_by_rule(WhisperTaps(dims)).state_dict()
    torch.save({"dims": asdict(dims), "model_state_dict": state}, folder / "whisper" / "tiny.pt")
    shutil.copytree(faces, folder / "auxiliary")


def first_seconds(audio: Path, output: Path, seconds: float) -> None:
    """The beginning of an audio file as 16 kHz WAV."""
    import numpy as np

    from latentsync.media.audio import read_audio

    samples = read_audio(audio)[: round(seconds * 16000)]
    with wave.open(str(output), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--faces", type=Path, required=True, help="folder with the files of a face detector")
    parser.add_argument("--output", type=Path, default=Path("full_size.mp4"))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    from latentsync.diffusion.settings import SamplerSettings
    from latentsync.inference.job.dub import dub
    from latentsync.inference.job.progress import ProgressBar, RunControl
    from latentsync.inference.job.request import DubRequest
    from latentsync.inference.options import SyncOptions
    from latentsync.inference.weights import WeightPaths

    with tempfile.TemporaryDirectory() as name, ProgressBar() as bar:
        folder = Path(name)
        write_weights(folder / "checkpoints", arguments.faces)
        first_seconds(arguments.audio, folder / "audio.wav", WINDOWS * 16 / 25)
        request = DubRequest(
            video=arguments.video,
            audio=folder / "audio.wav",
            output=arguments.output,
            options=SyncOptions(
                SamplerSettings(steps=arguments.steps, guidance_scale=arguments.guidance), check_output=False
            ),
            weights=WeightPaths.choose(folder / "checkpoints"),
            device=arguments.device,
            overwrite=True,
        )
        report = dub(request, control=RunControl(bar.update), on_note=bar.write)
    peak = peak_rss() / 1e9
    print(json.dumps({"benchmark": "full_size_dub", "peak_gb": round(peak, 2)} | json.loads(report.to_json())))


if __name__ == "__main__":
    main()
