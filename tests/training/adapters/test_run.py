"""An adapter is trained, resumed and used: tiny networks in the wiring of a user."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentsync.checkpoint import AdapterChoice, load_unet, read_card
from latentsync.checkpoint.files import fingerprint
from latentsync.data.manifest import Clip
from latentsync.errors import ConfigError, DataError
from latentsync.inference.weights import WeightPaths
from latentsync.metrics.stable_sync import SyncFit, SyncOffset
from latentsync.training.adapters import clips
from latentsync.training.adapters.clips import hold_out
from latentsync.training.adapters.run import AdaptRequest, adapt
from latentsync.training.adapters.task import CHANGES
from latentsync.training.loop.trainer import TrainingResult
from tests.data.clips import write_talking_clips
from tests.inference.tiny_weights import write_checkpoints

SMALL = (
    "data.num_val_samples=1", "data.batch_size=1", "run.log_steps=1", "run.inference_steps=1", "run.validation_steps=9",
    "run.mixed_precision_training=false", "optimizer.lr_warmup_steps=0", "optimizer.lr=0.05", "adapter.rank=2",
    "adapter.alpha=2", "ckpt.save_ckpt_steps=9", "run.ema_decay=0.5", "run.enable_gradient_checkpointing=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> AdaptRequest:
    folder = tmp_path_factory.mktemp("person")
    weights = WeightPaths.in_directory(write_checkpoints(folder / "checkpoints", resolution=32))
    write_talking_clips(folder / "clips", 3)
    output = folder / "person.safetensors"
    return AdaptRequest(output, folder / "work", weights, clips=folder / "clips", consent="his own", overrides=SMALL)


def test_a_run_that_is_resumed_gives_the_same_adapter(world: AdaptRequest, fresh_accelerators: None) -> None:
    def run(name: str, steps: int) -> Path:
        output = world.output.with_name(f"{name}.safetensors")
        overrides = (*SMALL, f"run.max_train_steps={steps}")
        request = replace(world, output=output, work=world.work.with_name(name), overrides=overrides)
        assert adapt(request)[0] is TrainingResult.FINISHED
        return request.run

    whole = run("whole", 2)
    run("parts", 1)
    parts = run("parts", 2)
    one, two = (load_file(folder / "weights" / "last.safetensors") for folder in (whole, parts))
    assert all(torch.equal(one[key], two[key]) for key in one)
    kept = {file.name for file in (whole / "checkpoints" / "step_000000002").iterdir()}
    assert CHANGES in kept and "model.safetensors" not in kept  # the base is not written again and again

    last, unet = whole / "weights" / "last.safetensors", world.weights.unet
    card = read_card(last)
    assert (card.kind, card.base, card.consent, card.global_step) == ("adapter", fingerprint(unet), "his own", 2)
    plain, adapted = (load_unet(unet, adapter=each).state_dict() for each in (None, AdapterChoice(last)))
    changed = {name for name in plain if not torch.equal(plain[name], adapted[name])}
    assert changed and all("attentions." in name or "motion_modules." in name for name in changed)


def test_what_makes_no_sense(world: AdaptRequest) -> None:
    with pytest.raises(ConfigError, match="videos or clips"):
        adapt(replace(world, clips=None))
    with pytest.raises(ConfigError, match="adapter.breadth"):
        adapt(replace(world, overrides=("adapter.breadth=3",)))


def fit(frames: int, confidence: float) -> SyncFit:
    return SyncFit(0.5, SyncOffset(frames, confidence, 0.8), 4)


def test_audio_out_of_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"a0": fit(0, 0.6), "a1": fit(5, 0.6), "a2": fit(9, 0.1), "a3": None, "a4": fit(-1, 0.5), "a5": fit(1, 0.5)}
    monkeypatch.setattr(clips, "_judge", lambda clip, sync: found[clip.content])
    video, some = tmp_path / "a.mp4", clips_of("a", 6)
    kept = clips.in_sync({video: some}, None)
    assert [clip.content for clip in kept[video]] == ["a0", "a2", "a3", "a4", "a5"]  # of a2 and a3 nothing is known
    found |= {f"a{k}": fit(5, 0.6) for k in range(5)}
    with pytest.raises(DataError, match="200 ms too late"):
        clips.in_sync({video: some}, None)


def clips_of(name: str, count: int) -> list[Clip]:
    return [Clip(Path(f"{name}{k}.mp4"), f"{name}{k}", 75, 25, 32, 32, 3.0, source=name) for k in range(count)]


def test_what_is_held_out(tmp_path: Path) -> None:
    few = {tmp_path / "a.mp4": clips_of("a", 10), tmp_path / "b.mp4": clips_of("b", 20)}
    held = [clip.content for clip in hold_out(few) if clip.split == "val"]
    assert held == ["a9", "b18", "b19"]  # the end of each
    many = {}
    for k in range(20):
        video = tmp_path / f"v{k}.mp4"
        video.write_text(str(k))
        many[video] = clips_of(f"v{k}", 3)
    sides = hold_out(many)
    held_sources = {clip.source for clip in sides if clip.split == "val"}
    assert len(held_sources) == 2 and not held_sources & {clip.source for clip in sides if clip.split == "train"}
    with pytest.raises(DataError, match="too few"):
        hold_out({tmp_path / "a.mp4": clips_of("a", 1)})
