"""The sync network on latents: what it sees, with and without the cache, and whose latents they are."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from latentsync.checkpoint import latent_signature, load_codec, read_card, save_codec
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.clip_reader import ArrayCache, MelReader, read_clip_frames
from latentsync.data.scan import load_clips
from latentsync.data.syncnet_dataset import collate_sync
from latentsync.errors import ConfigError, WeightsMismatchError
from latentsync.face.resample import fit_frames
from latentsync.metrics.stable_sync import StableSync
from latentsync.models.codec import LatentCodec
from latentsync.training.latent_cache import LatentCache
from latentsync.training.loop import precision
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.syncnet.data import pair_set
from latentsync.training.syncnet.evaluation import evaluate_syncnet
from latentsync.training.syncnet.run import train_syncnet
from tests.data.clips import write_corrupt_clip, write_talking_clips
from tests.golden import fill_by_rule
from tests.training.tiny import MODEL, tiny_recipe
from tests.training.tiny_unet import CODEC

CHANNELS = 8  # of the latents: unlike those of the releases
TOWER = {"in_channels": 16 * CHANNELS, "block_out_channels": [32, 64], "downsample_factors": [1, [1, 4]]}  # of 2 x 4


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Ten clips, the last of which is damaged, and a codec."""
    folder = tmp_path_factory.mktemp("data")
    paths = write_talking_clips(folder / "clips", 9, n_frames=48)
    write_corrupt_clip(folder / "clips" / "zz_corrupt.mp4", paths[0])
    save_codec(folder / "codec", fill_by_rule(AutoencoderKL(**CODEC, latent_channels=CHANNELS)))
    return folder


def recipe_of(place, folder, *, cached: bool = True, **sections: dict):
    data = {"latent_space": True, "codec_path": str(place / "codec"), "cache_latents": cached}
    return tiny_recipe(
        folder,
        place / "clips",
        model=MODEL | {"visual_encoder": TOWER},
        data=data | sections.pop("data", {}),
        run={"max_train_steps": 4, "validation_steps": 2, "log_steps": 1},
        ckpt={"save_ckpt_steps": 2, "inference_ckpt_path": str(folder / "tiny/weights/last.safetensors")},
        **sections,
    )


def losses(folder) -> list[tuple[float, float]]:
    found = []
    for name in ("train", "validation"):
        with (folder / "tiny" / f"{name}.csv").open() as file:
            found += [float(row["loss"]) for row in csv.DictReader(file)]
    return found


def test_the_network_sees_the_lower_half_of_the_latents_of_whole_faces(place):
    (clip, *_) = load_clips(place / "clips").clips
    codec, recipe = load_codec(place / "codec"), recipe_of(place, place)
    seen = []
    network = torch.nn.Module()
    network.weight = torch.nn.Parameter(torch.zeros(1))
    network.visual_encoder = lambda visual: seen.append(visual) or visual.flatten(1)
    model = StableSync(network, recipe.data.view, codec)
    frames = read_clip_frames(clip, 3, 16)
    model.embed_frames(model.crop(frames)[None])
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        pixels = fit_frames(frames, 32).float() / 127.5 - 1
        whole = codec.encode(pixels, torch.randn(16, CHANNELS, 4, 4, generator=draws))
    assert seen[0].shape == (1, 16 * CHANNELS, 2, 4)
    torch.testing.assert_close(seen[0][0, CHANNELS : 2 * CHANNELS], whole[1, :, 2:])


def test_the_cache_gives_what_encoding_gives(place, tmp_path):
    clips = load_clips(place / "clips").clips
    codec, data = load_codec(place / "codec"), recipe_of(place, tmp_path).data
    cache = LatentCache(tmp_path, codec, data.resolution)
    for clip in clips[:-1]:
        cache.encode(clip, cache.load(clip), codec)
        assert cache.load(clip) is None
    mels = MelReader(ArrayCache(tmp_path / "mel"))
    visual = []
    for latents in (cache, None):
        pairs = pair_set(clips[:-1], data, mels, 5, latents)
        batch = collate_sync([pairs[SampleKey(0, index)] for index in (0, 4)])
        assert batch.frames.is_floating_point() == (latents is not None)
        draws = torch.Generator().manual_seed(1)
        visual.append(StableSync(torch.nn.Module(), data.view, codec).visual_input(batch.frames, draws))
    torch.testing.assert_close(*visual, rtol=1e-3, atol=1e-4)  # other batches of the codec


def test_a_run_trains_validates_and_is_scored_alike_with_and_without_the_cache(place, tmp_path):
    for cached in (True, False):
        folder = tmp_path / f"cached_{cached}"
        assert train_syncnet(recipe_of(place, folder, cached=cached), "tiny") is TrainingResult.FINISHED
        replaced = json.loads((folder / "tiny" / "replaced_clips.json").read_text())
        assert {entry["path"].rsplit("/", 1)[1] for entry in replaced} <= {"zz_corrupt.mp4"}
    assert losses(tmp_path / "cached_True") == pytest.approx(losses(tmp_path / "cached_False"), rel=1e-3)
    codec = load_codec(place / "codec")
    assert read_card(tmp_path / "cached_True/tiny/weights/best.safetensors").latents == latent_signature(codec)
    recipe = recipe_of(place, tmp_path / "cached_True")
    scores = evaluate_syncnet(recipe, tmp_path / "cached_True/tiny", recipe.run.seed + 1, torch.device("cpu"))
    assert scores["loss"] == pytest.approx(losses(tmp_path / "cached_True")[-1], rel=1e-4)  # of the same pairs


def test_a_run_in_bfloat16_knows_its_codec_and_caches_what_numpy_can_hold(
    place, tmp_path, monkeypatch, fresh_accelerators
):
    monkeypatch.setattr(precision, "WITHOUT_HALF", ())
    recipe = recipe_of(place, tmp_path)
    recipe.run.mixed_precision_training, recipe.run.mixed_precision = True, "bf16"
    assert train_syncnet(recipe, "tiny") is TrainingResult.FINISHED
    (folder,) = (tmp_path / "tiny" / "cache").glob("latents-*")
    assert {np.load(path).dtype for path in folder.rglob("*.npy")} == {np.dtype(np.float16)}
    assert np.isfinite(losses(tmp_path)).all()
    mark = latent_signature(load_codec(place / "codec"))
    assert read_card(tmp_path / "tiny/weights/best.safetensors").latents == mark


def test_a_network_is_not_scored_on_another_codecs_latents(place, tmp_path):
    assert train_syncnet(recipe_of(place, tmp_path), "tiny") is TrainingResult.FINISHED
    torch.manual_seed(3)
    save_codec(tmp_path / "other", AutoencoderKL(**CODEC, latent_channels=CHANNELS))
    recipe = recipe_of(place, tmp_path, data={"codec_path": str(tmp_path / "other")})
    with pytest.raises(WeightsMismatchError, match="the latents of another codec"):
        evaluate_syncnet(recipe, tmp_path / "tiny", 1, torch.device("cpu"))


def test_a_codec_is_known_by_its_latents():
    codec, again, other = (fill_by_rule(AutoencoderKL(**CODEC, latent_channels=CHANNELS)) for _ in range(3))
    with torch.no_grad():
        again.decoder.conv_in.weight.add_(1)
        again.half()
        other.quant_conv.bias.add_(0.01)
    name = latent_signature(LatentCodec(codec))
    assert name == latent_signature(LatentCodec(again))
    assert name != latent_signature(LatentCodec(other))


def test_pixels_have_no_latents_to_keep(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.cache_latents"):
        tiny_recipe(tmp_path, tmp_path, data={"cache_latents": True})
