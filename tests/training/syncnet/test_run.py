"""The sync-network training as a user starts it: refusals, learning, the alarm, evaluation, the published files."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.checkpoint import WeightsCard, save_weights
from latentsync.config import build_config, read_yaml
from latentsync.data.scan import load_clips
from latentsync.errors import ConfigError, DataError
from latentsync.metrics.stable_sync import StableSync, SyncOffset
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.recipe import SyncNetData, SyncNetRecipe
from latentsync.training.builtin.recipes import CodecRecipe
from latentsync.training.loop.run import run_folder
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.syncnet import alarm as sync_alarm
from latentsync.training.syncnet.alarm import measure_facts, require_sync
from latentsync.training.syncnet.data import find_clips, mel_reader
from latentsync.training.syncnet.evaluation import evaluate_syncnet
from latentsync.training.syncnet.run import syncnet_loop_settings, train_syncnet
from tests.data.clips import talking_square, write_talking_clips
from tests.media.synthetic import write_clip
from tests.metrics.sync_networks import Knowing
from tests.training.tiny import MODEL, tiny_recipe

CONFIGS = Path(__file__).parents[3] / "configs" / "syncnet"
CODEC = CONFIGS.parent / "codec" / "builtin.yaml"
BUILTIN = CONFIGS.parents[1] / "checkpoints" / "builtin"
MODEL_8 = MODEL | {"visual_encoder": MODEL["visual_encoder"] | {"in_channels": 24}}  # 8 frames


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "clips"  # its name decides which clips are for validation
    write_talking_clips(folder, 20, n_frames=80)
    return folder


def test_the_network_leaves_chance_level_and_is_scored_the_same_twice(clips, tmp_path):
    negatives = {"min_distance": 8, "far_distance": 8, "other_clip_share": 0.5, "windows_per_clip": 4}
    recipe = tiny_recipe(
        tmp_path,
        clips,
        model={name: tower | {"dropout": 0.0} for name, tower in MODEL_8.items()},
        data={"num_frames": 8, "batch_size": 8, "num_val_samples": 100, "frame_cache_gib": 0.1, "negatives": negatives},
        run={"max_train_steps": 30, "validation_steps": 30, "log_steps": 10},
        optimizer={"lr": 2e-3, "lr_warmup_steps": 10},
        ckpt={"save_ckpt_steps": 30, "inference_ckpt_path": str(tmp_path / "tiny/weights/last.safetensors")},
    )
    assert train_syncnet(recipe, "tiny") is TrainingResult.FINISHED
    first, second = (evaluate_syncnet(recipe, run_folder(recipe, "tiny"), 1, torch.device("cpu")) for _ in range(2))
    assert first == second
    assert first["loss"] < 0.65  # about 0.5 after 30 steps, whatever the seed
    assert first["mean_cosine_fit"] > first["mean_cosine_misfit"] + 0.1
    assert first["accuracy"] > 0.65  # about 0.75
    low, high = first["accuracy_95_percent_interval"]
    assert low < first["accuracy"] < high
    assert first["pairs"] == 100
    json.dumps(first)
    other = evaluate_syncnet(recipe, run_folder(recipe, "tiny"), 2, torch.device("cpu"))
    assert other["loss"] != first["loss"]
    assert other["weights_sha256"] == first["weights_sha256"]


def test_a_contrast_that_sinks_is_written_down_beside_the_loss_of_the_pairs(clips, tmp_path):
    """What is trained for is the pairs' loss and less and less of the contrast; the table tells them apart."""
    negatives = {"min_distance": 8, "far_distance": 8, "windows_per_clip": 3}
    data = {"num_frames": 8, "batch_size": 4, "num_val_samples": 4, "color_jitter": 0.3, "negatives": negatives}
    run = {"max_train_steps": 4, "validation_steps": 4, "log_steps": 1, "positive_share": 0.25}
    tables = {}
    for weight in (0.0, 5.0):
        name = f"weight_{weight:.0f}"
        contrast = {"contrastive_weight": weight, "contrastive_steps": 2}
        recipe = tiny_recipe(
            tmp_path, clips, model=MODEL_8, data=data, run=run | contrast, optimizer={"max_grad_norm": 1e9}
        )
        assert train_syncnet(recipe, name) is TrainingResult.FINISHED
        with (tmp_path / name / "train.csv").open() as file:
            tables[weight] = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    without, with_it = tables[0.0], tables[5.0]
    assert all(1 < row["contrast"] < 10 and 0.3 < row["loss"] < 1.5 for table in tables.values() for row in table)
    assert without[0]["loss"] == with_it[0]["loss"]
    assert with_it[0]["grad_norm"] > 1.5 * without[0]["grad_norm"]
    assert with_it[3]["grad_norm"] < with_it[0]["grad_norm"] / 1.5


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("run", {"contrastive_steps": 10}),
        ("run", {"positive_share": 0.3}),
        ("run", {"contrastive_temperature": 0.0}),
        ("run", {"contrastive_steps": -1}),
        ("run", {"contrastive_weight": -0.5}),
        ("data", {"color_jitter": -0.1}),
        ("data", {"color_jitter": 0.1, "cache_latents": True, "latent_space": True}),
    ],
)
def test_settings_of_all_pairs_and_of_light_are_refused_where_they_say_nothing(tmp_path, section, values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        tiny_recipe(tmp_path, tmp_path, **{section: values})


def test_nothing_to_train_on_is_an_error_not_a_loop(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no video files"):
        train_syncnet(tiny_recipe(tmp_path / "out", tmp_path / "empty"), "tiny")
    write_talking_clips(tmp_path / "short", 3, n_frames=20)
    with pytest.raises(DataError, match="too short: 20 frames where 32 are needed"):
        train_syncnet(tiny_recipe(tmp_path / "out2", tmp_path / "short"), "tiny")
    for seed in range(3):
        write_clip(
            _folder(tmp_path / "mute") / f"{seed}.mp4", 48 + seed, size=(32, 32), sound=np.zeros((32_000, 1), "i2")
        )
    with pytest.raises(DataError, match="silent"):
        train_syncnet(tiny_recipe(tmp_path / "out3", tmp_path / "mute"), "tiny")
    recipe = tiny_recipe(tmp_path / "out4", tmp_path / "short")
    recipe.data.train_data_dir = None
    with pytest.raises(ConfigError, match="names no training clips"):
        train_syncnet(recipe, "tiny")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "batch_size", 0),
        ("data", "num_val_samples", 0),
        ("run", "log_steps", 0),
        ("ckpt", "save_ckpt_steps", -1),
        ("run", "mixed_precision", "fp8"),
    ],
)
def test_settings_without_sense_are_refused_by_name(tmp_path, section, key, value):
    with pytest.raises(ConfigError, match=rf"{section}\.{key}"):
        tiny_recipe(tmp_path, tmp_path, **{section: {key: value}})


def test_a_folder_of_another_run_is_not_continued(clips, tmp_path):
    few = {"max_train_steps": 1, "validation_steps": 1}
    train_syncnet(tiny_recipe(tmp_path, clips, run=few), "tiny")
    with pytest.raises(ConfigError, match=r"optimizer.lr: 0.001 there, 0.002 now"):
        train_syncnet(tiny_recipe(tmp_path, clips, run=few, optimizer={"lr": 2e-3}), "tiny")
    longer = tiny_recipe(tmp_path, clips, run={"max_train_steps": 2, "validation_steps": 1}, data={"num_workers": 1})
    assert train_syncnet(longer, "tiny") is TrainingResult.FINISHED


def test_named_validation_clips_are_kept_out_of_training(clips, tmp_path):
    recipe = tiny_recipe(tmp_path, clips)
    held_out = sorted(clips.glob("*.mp4"))[:3]
    (tmp_path / "val.txt").write_text("\n".join(map(str, held_out)))
    recipe.data.val_fileslist = str(tmp_path / "val.txt")
    found = find_clips(recipe.data, tmp_path / "cache")
    assert [clip.path for clip in found.validation] == held_out
    assert len(found.train) == 17
    assert "duplicate: also a validation clip" in found.summary()


def test_facts_are_measured_on_the_clips(tmp_path):
    for seed in range(4):
        frames, audio = talking_square(seed, 60)
        audio[: len(audio) // 2] = 0
        write_clip(
            _folder(tmp_path / "clips") / f"{seed}.mp4", frames if seed else frames[:1].repeat(60, 0), sound=audio
        )
    recipe = tiny_recipe(tmp_path, tmp_path / "clips", data={"negatives": {"min_distance": 1, "other_clip_share": 0.0}})
    found = find_clips(recipe.data, tmp_path / "cache")
    everything = (*found.train, *found.validation)
    facts = measure_facts(recipe, everything, mel_reader(recipe.data, tmp_path), torch.device("cpu"))
    assert (facts.clips, facts.sources) == (4, 4)
    assert facts.still_share == 0.25
    assert 0.3 < facts.silent_share < 0.7
    assert 0.05 < facts.near_negative_share < 0.4
    assert facts.in_sync_share is None


def test_the_alarm_is_heard_in_a_run_without_anything_to_learn(clips, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("latentsync.training.syncnet.task.sync_loss", lambda c, y: 0.6931 + 0 * c.sum())
    run = {"max_train_steps": 5, "validation_steps": 10, "alarm_steps": 4}
    monkeypatch.setattr(
        "latentsync.training.syncnet.task.SyncNetTask.validate", lambda *_: {"score": 0.5, "loss": 0.7, "accuracy": 0.5}
    )
    with caplog.at_level(logging.WARNING):
        train_syncnet(tiny_recipe(tmp_path, clips, run=run), "tiny")
    assert "The loss sits at chance level: 0.6931 after 4 steps" in caplog.text
    assert "15 recordings" in caplog.text


def test_clips_out_of_sync_are_named_and_refused(clips, tmp_path, monkeypatch, caplog):
    recipe = tiny_recipe(tmp_path, clips)
    found = find_clips(recipe.data, tmp_path / "cache")
    verdicts = [SyncOffset(0, 0.5, 0.8)] * 6 + [SyncOffset(75, 0.6, 0.8)] * 8 + [SyncOffset(3, 0.01, 0.2)]
    monkeypatch.setattr(sync_alarm, "sample_offsets", lambda *_: list(zip(found.train, verdicts, strict=True)))
    with pytest.raises(DataError, match="Only 40% of 15 clips are in sync"):
        require_sync(recipe, found.train, None, torch.device("cpu"))
    assert f"{found.train[6].path}: the audio is +75 frames late" in caplog.text
    assert f"{found.train[14].path}: no shift of the audio fits" in caplog.text


def test_sound_that_is_three_seconds_late_is_found_before_the_first_step(tmp_path, caplog):
    """With a file that, as a published one, does not say which network it holds."""
    for seed in range(6):
        frames, audio = talking_square(seed, 200)
        late = audio if seed < 2 else np.roll(audio, 3 * 16_000)
        write_clip(_folder(tmp_path / "clips") / f"{seed}.mp4", frames, sound=late)
    weights = tmp_path / "knowing.pt"
    torch.save({"state_dict": StableSyncNet(SyncNetConfig.from_dict(MODEL)).state_dict()}, weights)
    recipe = tiny_recipe(tmp_path, tmp_path / "clips", run={"offset_syncnet_path": str(weights)})
    clips = load_clips(tmp_path / "clips").clips
    model = sync_alarm._offset_model(recipe, weights, torch.device("cpu"))
    assert not model.network.training
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_alarm, "_offset_model", lambda *_: StableSync(Knowing(), model.view))
        with pytest.raises(DataError, match="Only 33% of 6 clips are in sync"):
            require_sync(recipe, clips, mel_reader(recipe.data, tmp_path), torch.device("cpu"))
    named = [clip for clip in clips if f"{clip.path}: " in caplog.text]
    assert named == list(clips[2:])


@pytest.mark.parametrize(
    ("data", "card", "named"),
    [
        ({"latent_space": True}, WeightsCard("syncnet"), "only takes pixel networks"),
        ({"num_frames": 8}, WeightsCard("syncnet"), "takes 48 channels, and 8 frames of pixels have 24"),
        ({}, WeightsCard("syncnet", resolution=64), "resolution 64, asked for was 32"),
    ],
)
def test_offsets_are_measured_by_a_network_of_the_same_view_only(tmp_path, data, card, named):
    config = SyncNetConfig.from_dict(MODEL)
    save_weights(tmp_path / "other.safetensors", StableSyncNet(config).state_dict(), config, card)
    run = {"offset_syncnet_path": str(tmp_path / "other.safetensors")}
    with pytest.raises(ConfigError, match=named):
        require_sync(tiny_recipe(tmp_path, tmp_path, data=data, run=run), (), None, torch.device("cpu"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_describes_a_network_that_fits_its_data(path):
    recipe = build_config(read_yaml(path), SyncNetRecipe, source=str(path))
    syncnet_loop_settings(recipe)
    data = recipe.data
    with torch.device("meta"):
        network = StableSyncNet(SyncNetConfig.from_dict(recipe.model))
        side = data.resolution // 8 if data.latent_space else data.resolution
        channels = data.num_frames * _picture_channels(data)
        visual = torch.empty(1, channels, side // 2 if data.lower_half else side, side)
        mel = torch.empty(1, 1, 80, -(-80 * data.num_frames // 25))
        visual_embedding, audio_embedding = network(visual, mel)
    assert visual_embedding.shape == audio_embedding.shape


@pytest.mark.slow
def test_a_full_size_step_of_the_published_network_runs_on_a_cpu(tmp_path):
    """401 million weights with AdamW: about 7 GiB of memory."""
    frames, audio = talking_square(0, 48, side=256)
    for seed in range(2):
        write_clip(_folder(tmp_path / "clips") / f"{seed}.mp4", frames, sound=np.roll(audio, 3 * seed))
    mapping = read_yaml(CONFIGS / "syncnet_16_pixel_attn.yaml")
    mapping["data"] |= {
        "train_data_dir": str(tmp_path / "clips"), "train_output_dir": str(tmp_path), "batch_size": 2,
        "num_val_samples": 2, "num_workers": 0,
    }  # fmt: skip
    mapping["run"] |= {"max_train_steps": 1}
    recipe = build_config(mapping, SyncNetRecipe, source="published")
    with torch.device("meta"):
        network = StableSyncNet(SyncNetConfig.from_dict(recipe.model))
    assert sum(p.numel() for p in network.parameters()) == 401_306_080
    assert train_syncnet(recipe, "full") is TrainingResult.FINISHED
    row = (tmp_path / "full" / "train.csv").read_text().splitlines()[1].split(",")
    assert 0.3 < float(row[1]) < 2


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("shuffled", [False, True], ids=["audio", "shuffled audio"])
def test_the_talkers_configuration_learns_what_can_be_learnt(tmp_path, shuffled):
    """Other people, other sentences than those of the training. Eight minutes each on two quiet cores."""
    recipe = build_config(read_yaml(CONFIGS / "talkers.yaml"), SyncNetRecipe, source="talkers")
    recipe.data.train_output_dir = str(tmp_path)
    recipe.data.shuffled_sound = shuffled
    recipe.ckpt.inference_ckpt_path = str(tmp_path / "talkers/weights/last.safetensors")
    assert train_syncnet(recipe, "talkers") is TrainingResult.FINISHED
    recipe.data.num_val_samples = 2000  # known to half a hundredth
    accuracy = evaluate_syncnet(recipe, tmp_path / "talkers", 1234, torch.device("cpu"))["accuracy"]
    assert abs(accuracy - 0.5) <= 0.05 if shuffled else accuracy >= 0.95


def _picture_channels(data: SyncNetData) -> int:
    """Of a frame: colors, or those of the latents. Codecs that come with the repository, or are trained for it, have
    more than the published one, whose 4 are those of every codec that is not there."""
    if not data.latent_space:
        return 3
    if data.codec_path.startswith("output/builtin/codec/"):
        return build_config(read_yaml(CODEC), CodecRecipe, source=str(CODEC)).model["latent_channels"]
    block = CONFIGS.parents[1] / data.codec_path / "config.json"
    return json.loads(block.read_text())["latent_channels"] if block.is_relative_to(BUILTIN) else 4


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
