"""The U-Net's training as a user starts it: both stages on talkers, resuming, caching, the published files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from latentsync.checkpoint import (
    WeightsCard,
    latent_signature,
    load_codec,
    load_unet,
    read_card,
    save_codec,
    save_weights,
)
from latentsync.config import load_config, read_yaml
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.unet_dataset import UNetDataset
from latentsync.errors import ConfigError, OutOfMemoryError, WeightsMismatchError, WeightsMissingError
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.recipe import UNetRecipe
from latentsync.training.loop.clips import find_clips
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.unet.data import cache_folder, prepare_windows
from latentsync.training.unet.networks import (
    build_unet,
    choose_trained,
    load_frozen_codec,
    load_loss_networks,
    loss_config_of,
    make_objective,
    require_files,
    weight_files,
)
from latentsync.training.unet.run import train_unet, unet_loop_settings
from latentsync.training.unet.task import UNetSetup, UNetTask
from tests.golden import fill_by_rule
from tests.models.published import on_meta
from tests.training.tiny_unet import CODEC, ROOT, write_networks

CONFIGS = ROOT / "configs" / "unet"
SMALL = [
    "data.talkers.train_clips=3", "data.talkers.validation_clips=1", "data.talkers.seconds=2.4",
    "data.num_val_samples=2", "data.batch_size=2", "data.resolution=64", "run.log_steps=1", "run.inference_steps=1",
    "data.num_frames=16", "model.in_channels=13", "model.out_channels=4",  # of the stand-ins
]  # fmt: skip
ALL_LOSSES = ["run.perceptual_loss_weight=0.1", "run.trepa_loss_weight=10"]
LOSSES = ("recon", "sync", "perceptual", "trepa")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are slower with several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("unet")


@pytest.fixture(scope="module")
def networks(folder) -> list[str]:
    return write_networks(folder / "networks", width=128)


def recipe_of(stage: int, folder: Path, networks: list[str], *overrides: str) -> UNetRecipe:
    """The talkers configuration of a stage with the stand-ins and three clips."""
    place = f"data.train_output_dir={folder}/out"
    return load_config(CONFIGS / f"talkers_stage{stage}.yaml", UNetRecipe, [*networks, *SMALL, place, *overrides])


@pytest.fixture(scope="module")
def stages(folder, networks) -> Path:
    """Where stage 1 ran for three steps and stage 2, after it and with all losses, for two."""
    first = recipe_of(1, folder, networks, "run.max_train_steps=3", "optimizer.lr_warmup_steps=0")
    assert train_unet(first, "stage1") is TrainingResult.FINISHED
    start = f"ckpt.resume_ckpt_path={folder}/out/stage1/weights/last.safetensors"
    short = ["run.max_train_steps=2", "data.batch_size=1", "data.num_val_samples=1", "optimizer.lr_warmup_steps=0"]
    second = recipe_of(2, folder, networks, *ALL_LOSSES, start, *short)
    assert train_unet(second, "stage2") is TrainingResult.FINISHED
    return folder / "out"


def table(run: Path, name: str) -> list[dict[str, float]]:
    with (run / f"{name}.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights" / "last.safetensors")


def test_both_talkers_stages_train_validate_and_export(stages):
    for name, losses, steps in (("stage1", ("recon",), 3), ("stage2", LOSSES, 2)):
        train, validation = table(stages / name, "train"), table(stages / name, "validation")
        assert [row["step"] for row in train] == list(range(1, steps + 1))
        assert [row["step"] for row in validation] == [0, steps]
        assert all(row[loss] > 0 for row in (*train, *validation) for loss in losses)
        assert all(row["grad_norm"] > 0 for row in train)
        assert {"sync", "perceptual", "trepa"} & set(train[0]) == set(losses) - {"recon"}
        assert (stages / name / "charts.png").stat().st_size > 1000
        assert (stages / name / "validation" / f"step_{steps:09d}.png").stat().st_size > 1000
        assert all(0 < row["sync_cosine"] < 1 for row in validation)
        card = read_card(stages / name / "weights" / "last.safetensors")
        assert (card.resolution, card.num_frames, card.global_step) == (64, 16, steps)
    weights = {"recon": 1.0, "sync": 0.05, "perceptual": 0.1, "trepa": 10.0}
    row = table(stages / "stage2", "validation")[0]
    assert row["loss"] == pytest.approx(sum(weights[name] * row[name] for name in LOSSES), rel=1e-5)
    assert load_unet(stages / "stage2" / "weights" / "best.safetensors", resolution=64).config.use_motion_module


def test_stage_2_moves_its_own_parts_only(stages):
    before, after = tensors(stages / "stage1"), tensors(stages / "stage2")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all("attentions." in name for name in moved)
    assert any(after[name].any() for name in after if "temporal_transformer.proj_out.weight" in name)


def test_four_steps_are_two_steps_and_two_more(stages, folder, networks):
    steady = ["optimizer.lr_scheduler=constant", "optimizer.lr_warmup_steps=0", "run.audio_dropout=0.5"]
    steady += [f"data.more_clips.again.files={folder}/out/talker_clips/clips.jsonl", "data.more_clips.again.share=0.5"]
    for name, lengths in (("whole", [4]), ("parts", [2, 4])):
        for length in lengths:
            recipe = recipe_of(1, folder, networks, *steady, f"run.max_train_steps={length}")
            assert train_unet(recipe, name) is TrainingResult.FINISHED
    whole, parts = tensors(stages / "whole"), tensors(stages / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    losses = [[row["loss"] for row in table(stages / name, "train")] for name in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def task_of(recipe: UNetRecipe) -> UNetTask:
    losses, accelerator = loss_config_of(recipe), Accelerator(cpu=True)
    clips = find_clips(recipe.data, UNetDataset.min_frames(recipe.data.num_frames), cache_folder(recipe))
    codec = load_frozen_codec(recipe, accelerator.device)
    windows = prepare_windows(recipe, clips, losses, codec, accelerator)
    objective = make_objective(recipe, losses, load_loss_networks(recipe, losses, codec, accelerator.device), codec)
    torch.manual_seed(0)
    return UNetTask(UNetSetup(recipe, build_unet(recipe), codec, objective, windows))


def batch_of(task: UNetTask, *indices: int):
    return task.collate([task.dataset[SampleKey(3, index, 0)] for index in indices])


def test_cached_latents_give_the_losses_of_fresh_ones(stages, folder, networks):
    start = f"ckpt.resume_ckpt_path={stages}/stage1/weights/last.safetensors"
    found = {}
    for cached in (True, False):
        settings = ["data.batch_size=1", "data.steady_reference=1", f"data.cache_latents={cached}"]
        task = task_of(recipe_of(2, folder, networks, start, *settings))
        batch = batch_of(task, 1)
        assert (type(batch.windows).__name__ == "PosteriorBatch") == cached
        with torch.no_grad():
            total, parts = task.loss(task.network, batch)
        found[cached] = {"total": total.item()} | {name: value.item() for name, value in parts.items()}
    assert found[True] == pytest.approx(found[False], rel=1e-4)
    assert found[True].keys() == {"total", "recon", "sync"}


def test_a_sample_has_its_noise_whatever_it_is_batched_with(stages, folder, networks):
    task = task_of(recipe_of(1, folder, networks))
    both, alone = batch_of(task, 0, 1), batch_of(task, 1)
    again = task.dataset[SampleKey(4, 1, 0)][1]
    pair, single = both.draws, alone.draws
    for of_pair, of_single, of_again in (
        (pair.step.noise, single.step.noise, again.step.noise),
        (pair.posterior.transpose(0, 1), single.posterior.transpose(0, 1), again.posterior.transpose(0, 1)),
    ):
        assert torch.equal(of_pair[1], of_single[0])
        assert not torch.equal(of_pair[0], of_pair[1])
        assert not torch.equal(of_again[0], of_single[0])


def test_a_validation_without_memory_is_done_in_halves(stages, folder, networks, monkeypatch):
    task, accelerator = task_of(recipe_of(1, folder, networks)), Accelerator(cpu=True)
    losses, sizes, fits = UNetTask._losses, [], 1

    def short_of_memory(self, network, batch):
        sizes.append(len(batch.origins))
        if sizes[-1] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return losses(self, network, batch)

    with torch.no_grad():
        whole = task.validate(accelerator, 0)
        monkeypatch.setattr(UNetTask, "_losses", short_of_memory)
        assert task.validate(accelerator, 0) == pytest.approx(whole, rel=1e-5)
        assert sizes == [2, 1, 1]
        fits = 0
        with pytest.raises(OutOfMemoryError, match="validation batch of one sample"):
            task.validate(accelerator, 0)


def learn_by_heart(task: UNetTask, steps: int, learning_rate: float) -> list[dict[str, float]]:
    """Train on one batch with one draw of noise; the losses of every step."""
    batch = batch_of(task, 0)
    trained = [parameter for parameter in task.network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate)
    rows = []
    for _ in range(steps):
        total, parts = task.loss(task.network, batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        rows.append({"total": total.item()} | {name: value.item() for name, value in parts.items()})
    return rows


def test_stage_1_learns_one_batch_by_heart(stages, folder, networks):
    narrow = ["model.block_out_channels=[32,32,32]", "data.num_frames=4", "run.audio_dropout=0"]
    rows = learn_by_heart(task_of(recipe_of(1, folder, networks, *narrow)), 40, 3e-3)
    assert rows[0]["recon"] == pytest.approx(1.0, abs=0.1)  # a fresh network predicts zero, and noise has variance 1
    assert rows[-1]["recon"] < 0.5


def test_stage_2_learns_one_batch_by_heart(folder, networks):
    """Through all four losses, decoder and losses included."""
    narrow = ["model.block_out_channels=[32,32,32]", "data.resolution=32", "data.batch_size=1", "run.audio_dropout=0"]
    whole = ["ckpt.resume_ckpt_path=null", "run.trainable_modules=null", "run.loss_levels=uniform"]
    rows = learn_by_heart(task_of(recipe_of(2, folder, networks, *ALL_LOSSES, *narrow, *whole)), 20, 3e-3)
    assert set(rows[0]) == {"total", *LOSSES}
    assert rows[-1]["total"] < 0.6 * rows[0]["total"]
    assert rows[-1]["sync"] < rows[0]["sync"]
    assert rows[-1]["trepa"] < rows[0]["trepa"]


# -- what a configuration asks for ------------------------------------------------------------------------------------

PUBLISHED = {  # what each needs besides codec, audio encoder and the U-Net to start from; trained parameters
    "stage1": ([], 849_962_244),
    "stage1_512": ([], 849_962_244),
    "stage2": (["sync network", "VGG of the perceptual loss", "VideoMAE of the temporal loss"], 674_792_320),
    "stage2_512": (["sync network", "VGG of the perceptual loss", "VideoMAE of the temporal loss"], 674_792_320),
    "stage2_efficient": (["sync network", "VGG of the perceptual loss"], 284_660_480),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_trains_its_parts_and_names_the_weights_it_lacks(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = load_config(CONFIGS / f"{name}.yaml", UNetRecipe)
    judged, trained = PUBLISHED[name]
    network = on_meta(lambda: choose_trained(UNet3D(UNetConfig.from_dict(recipe.model)), recipe))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == trained
    losses = loss_config_of(recipe)
    assert losses.need_pixels == bool(judged)
    files = weight_files(recipe, losses)
    assert set(files) == {"codec", "audio encoder", "U-Net to start from", *judged}
    absent = {use: Path("nowhere") / path for use, path in files.items()}
    with pytest.raises(WeightsMissingError, match="latentsync weights --for training") as error:
        require_files(absent)
    assert all(str(path) in error.value.message for path in absent.values())


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.num_frames=8", "windows of 16 frames, data.num_frames is 8"),
        ("run.pixel_space_supervise=false", "sees pixels"),
        ("data.syncnet_config_path=null", "names no sync network"),
        ("data.syncnet_config_path=configs/syncnet/syncnet_16_latent.yaml data.resolution=512", "latents of 256 px"),
        (
            "data.syncnet_config_path=configs/syncnet/syncnet_16_latent.yaml model.in_channels=25 model.out_channels=8",
            "takes 64 channels of image, where its windows have 128",
        ),
        ("model.cross_attention_dim=100", "no published audio encoder's"),
        ("run.trainable_modules=[attention_.]", "'attention_.'"),
    ],
)
def test_contradictions_are_named_before_anything_is_loaded(override, named, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = load_config(CONFIGS / "stage2.yaml", UNetRecipe, override.split())
    with pytest.raises(ConfigError, match=named):
        weight_files(recipe, loss_config_of(recipe))
        on_meta(lambda: choose_trained(UNet3D(UNetConfig.from_dict(recipe.model)), recipe))


def test_published_options_set_the_length_and_the_rate():
    recipe = load_config(
        CONFIGS / "stage1.yaml", UNetRecipe, ["run.max_train_epochs=3", "optimizer.scale_lr=true", "data.batch_size=4"]
    )
    settings = unet_loop_settings(recipe, n_samples=100, n_processes=2)
    assert settings.max_steps == 38  # 300 clips, eight a step
    assert settings.learning_rate(0) == pytest.approx(2e-5)


@pytest.fixture
def latent_sync(folder, networks, tmp_path) -> Path:
    """A sync network on the lower half of the stand-in codec's latents, that says so."""
    block = read_yaml(ROOT / "configs/syncnet/talkers_latent.yaml")
    block["data"] |= {"resolution": 64, "codec_path": f"{folder}/networks/codec"}
    block["model"]["visual_encoder"] |= {"in_channels": 64, "downsample_factors": [1, 2, 1, [1, 4]]}  # of 4 x 8
    block["ckpt"]["inference_ckpt_path"] = f"{tmp_path}/syncnet.safetensors"
    (tmp_path / "syncnet.yaml").write_text(yaml.safe_dump(block))
    config = SyncNetConfig.from_dict(block["model"])
    card = WeightsCard("syncnet", latents=latent_signature(load_codec(f"{folder}/networks/codec")))
    save_weights(tmp_path / "syncnet.safetensors", fill_by_rule(StableSyncNet(config)).state_dict(), config, card)
    return tmp_path / "syncnet.yaml"


def test_a_sync_network_on_latents_supervises_without_decoded_faces(stages, folder, networks, latent_sync):
    start = f"ckpt.resume_ckpt_path={stages}/stage1/weights/last.safetensors"
    latent = [f"data.syncnet_config_path={latent_sync}", "run.pixel_space_supervise=false"]
    short = ["run.max_train_steps=1", "data.batch_size=1", "data.num_val_samples=1", "optimizer.lr_warmup_steps=0"]
    recipe = recipe_of(2, folder, networks, start, *latent, *short)
    assert not loss_config_of(recipe).need_pixels
    assert train_unet(recipe, "latent") is TrainingResult.FINISHED
    (row,) = table(stages / "latent", "train")
    assert row["sync"] > 0
    assert 0 < table(stages / "latent", "validation")[0]["sync_cosine"] < 1
    task = task_of(recipe_of(2, folder, networks, start, *latent, *short, "run.recon_loss_weight=0"))
    total, _ = task.loss(task.network, batch_of(task, 1))
    total.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in task.network.parameters())


def test_a_sync_network_of_another_codecs_latents_is_refused(stages, folder, networks, latent_sync, tmp_path):
    torch.manual_seed(1)
    save_codec(tmp_path / "codec", AutoencoderKL(**CODEC))
    start = f"ckpt.resume_ckpt_path={stages}/stage1/weights/last.safetensors"
    latent = [f"data.syncnet_config_path={latent_sync}", "run.pixel_space_supervise=false"]
    recipe = recipe_of(2, folder, networks, start, *latent, f"networks.codec={tmp_path}/codec")
    with pytest.raises(WeightsMismatchError, match="the latents of another codec"):
        train_unet(recipe, "other_codec")
