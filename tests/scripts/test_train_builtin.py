"""The steps of scripts/train_builtin: what they are told of people, and of words that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import AutoencoderTiny

from latentsync.checkpoint import WeightsCard, latent_signature, load_codec, read_card, save_codec, save_weights
from latentsync.checkpoint.files import fingerprint
from latentsync.checkpoint.registry import CODEC_WEIGHTS
from latentsync.config import load_config
from latentsync.data import grid
from latentsync.data.photo_talkers import crops as photo_crops
from latentsync.data.photo_talkers import portrait
from latentsync.data.speech.collection import Speech
from latentsync.errors import ConfigError
from latentsync.face.backends import yunet
from latentsync.models.unet import UNet3D
from latentsync.recipe import TalkerData, UNetRecipe
from latentsync.training.builtin import audio_encoder
from scripts import train_builtin
from scripts.train_builtin import People
from tests.golden import fill_by_rule
from tests.training.tiny_tasks import UNET
from tests.training.tiny_unet import write_networks


def test_without_people_no_step_is_told_of_any():
    nobody = People(None, Path("detector"))
    assert nobody.clips() == nobody.still_faces() == nobody.voices() == []


def test_only_what_the_folder_holds_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_crops, "make_photo_crops", lambda wanted, photos, *_, **__: photos / "made.jsonl")
    monkeypatch.setattr(grid, "make_grid_crops", lambda people, *_: people / "cut.jsonl")
    monkeypatch.setattr(yunet, "load", lambda *_: None)
    monkeypatch.setattr(portrait, "PortraitReader", lambda *_: None)
    monkeypatch.setattr(audio_encoder, "find_speech", lambda data: Speech((), ()))
    people = People(tmp_path, Path("detector"))
    assert people.clips() == []
    (tmp_path / "grid_s1").mkdir()
    assert people.clips() == [f"data.more_clips.grid.files={tmp_path}/cut.jsonl"]
    (tmp_path / "portraits").mkdir()
    assert people.clips() == [
        f"data.more_clips.photos.files={tmp_path}/portraits/made.jsonl",
        f"data.more_clips.grid.files={tmp_path}/cut.jsonl",
    ]
    assert people.still_faces() == [f"data.people={tmp_path}", "data.people_detector=detector"]


def test_people_are_for_all_steps_and_settings_for_one(tmp_path, monkeypatch, capsys):
    seen = []
    for name in ("codec", "syncnet"):
        monkeypatch.setitem(train_builtin.STEPS, name, lambda *given: seen.append(given) or True)
    assert train_builtin.main(["codec", "syncnet", f"people={tmp_path}", "detector=weights"]) == 0
    assert seen == [(People(tmp_path, Path("weights").resolve()), [])] * 2
    assert train_builtin.main(["codec", "run.seed=2"]) == 0
    assert seen[-1][0].folder is None and seen[-1][1] == ["run.seed=2"]
    for words in (["codec", "syncnet", "run.seed=2"], ["codec", "nonsense"]):
        with pytest.raises(SystemExit):
            train_builtin.main(words)
    assert "nonsense" in capsys.readouterr().err


def test_a_student_and_a_small_decoder_are_published_when_they_are_there(tmp_path, monkeypatch):
    networks, target = tmp_path / "networks", tmp_path / "published"
    write_networks(networks, width=UNET.cross_attention_dim)
    unet, student = networks / "unet.safetensors", networks / "student.safetensors"
    weights = fill_by_rule(UNet3D(UNET)).state_dict()
    save_weights(unet, weights, UNET, WeightsCard("unet", resolution=32))
    small = networks / "small"
    decoder = AutoencoderTiny(latent_channels=4, decoder_block_out_channels=(4,) * 4)
    signature = latent_signature(load_codec(networks / "codec"))
    save_codec(small, decoder, WeightsCard("codec", latents=signature), networks / "codec")
    places = {
        "TARGET": target, "DECODER": networks / "codec", "SYNCNET": networks / "syncnet.safetensors", "STAGE_2": unet,
        "AUDIO_ENCODER": networks / "audio_encoder.pt", "STUDENT": student, "SMALL_DECODER": small,
        "SMALL_CODEC": networks / "with_encoder",
    }  # fmt: skip
    for name, place in places.items():
        monkeypatch.setattr(train_builtin, name, place)
    nobody = People(None, Path("detector"))
    (small / "config.json").rename(small / "kept.json")
    (small / CODEC_WEIGHTS).rename(small / "kept.safetensors")
    assert train_builtin.publish(nobody, [])
    assert sorted(path.name for path in target.iterdir()) == [
        "audio_encoder.pt", "codec", "syncnet.safetensors", "unet.safetensors"
    ]  # fmt: skip
    (small / "kept.json").rename(small / "config.json")
    (small / "kept.safetensors").rename(small / CODEC_WEIGHTS)
    save_weights(student, weights, UNET, WeightsCard("unet", resolution=32, distilled_steps=2))
    assert train_builtin.publish(nobody, [])
    card = read_card(target / "student.safetensors")
    assert (card.distilled_steps, card.base) == (2, fingerprint(target / "unet.safetensors"))
    assert latent_signature(load_codec(target / "codec_small")) == signature
    save_codec(networks / "with_encoder", decoder, latents_as=signature)
    assert train_builtin.publish(nobody, [])
    published = load_codec(target / "codec_small")
    assert published.encoder is None and latent_signature(published) == signature


def test_the_files_of_the_u_net_ask_for_the_same_clips():
    """All of them read one folder of drawn talkers, and the shares of the first are those of the photographs."""
    names = ("builtin_stage1", "builtin_stage2", "builtin_student")
    first, *others = (load_config(train_builtin.CONFIGS / "unet" / f"{name}.yaml", UNetRecipe).data for name in names)
    assert first.talkers.covered_share == 0.1 and first.talkers.turned_share == 0.2
    assert all(other.talkers == first.talkers for other in others)
    assert TalkerData().covered_share is None  # as in a run from before there were any, which could not go on with 0.0
    with pytest.raises(ConfigError, match=r"turned_share 1\.5"):
        TalkerData(turned_share=1.5)


def test_hard_photographs_lie_in_a_folder_of_their_own(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(photo_crops, "make_photo_crops", lambda *given: asked.append(given) or tmp_path)
    monkeypatch.setattr(portrait, "PortraitReader", lambda *_: None)
    monkeypatch.setattr(audio_encoder, "find_speech", lambda data: Speech((), ()))
    (tmp_path / "portraits").mkdir()
    for overrides in ([], ["data.talkers.covered_share=null", "data.talkers.turned_share=null", "run.seed=3"]):
        People(tmp_path, Path("detector")).clips(overrides)
    assert [(crops.covered_share, crops.turned_share) for crops, *_ in asked] == [(0.1, 0.2), (0, 0)]
    assert [folder.name for _, _, folder, *_ in asked] == ["photo_clips_hard", "photo_clips"]
