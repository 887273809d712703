"""A/V offsets that are known: talkers, and a sync network that was trained on talkers (USERS A25)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval import eval_sync_conf
from latentsync.errors import DataError
from latentsync.evaluation.faces import follow_face, given_faces
from latentsync.evaluation.instruments import load_sync_model
from latentsync.evaluation.recording import open_recording
from latentsync.evaluation.voices import own_sync
from tests.evaluation.world import SETTINGS, SYNCNET, talker, write_talker
from tests.metrics.sync_networks import write_whole_face


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = write_talker(tmp_path_factory.mktemp("shift") / "clip.mp4", talker(1, seconds=4.0, size=192))
    recording = open_recording(path)
    faces = follow_face(recording, None, given_faces(path), "largest", SETTINGS.resolution)
    return load_sync_model(SYNCNET, None), recording, faces


@pytest.mark.parametrize("early", range(-5, 6))
def test_a_known_shift_is_recovered_exactly(scene, early: int) -> None:
    model, recording, faces = scene
    gap = np.zeros(abs(early) * 640, np.float32)
    sound = recording.sound
    shifted = np.concatenate([sound[len(gap) :], gap] if early > 0 else [gap, sound[: len(sound) - len(gap)]])
    found = own_sync(model, recording, faces, shifted, SETTINGS.resolution)
    assert found["stablesyncnet_offset"] == early
    assert found["stablesyncnet_confidence"] > 0.2


def test_a_known_shift_of_files_is_recovered_by_the_command(tmp_path) -> None:
    clip = talker(1, seconds=4.0, size=192)
    for early in (-5, 5):
        sound = np.roll(clip.waveform, -early * 640)
        write_talker(tmp_path / "films" / f"{early}.mp4", replace(clip, waveform=sound))
    arguments = ["--videos_dir", str(tmp_path / "films"), "--initial_model", str(SYNCNET), "--auxiliary", str(tmp_path)]
    assert eval_sync_conf.main([*arguments, "--json_path", str(tmp_path / "found.json")]) == 0
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert {Path(row["video"]).stem: row["offset"] for row in rows} == {"-5": -5, "5": 5}


def test_a_sound_too_short_is_named(scene) -> None:
    model, recording, faces = scene
    with pytest.raises(DataError, match="too short"):
        own_sync(model, recording, faces, recording.sound[:4000], SETTINGS.resolution)


def test_a_network_on_the_whole_face_is_loaded_as_one(tmp_path) -> None:
    write_whole_face(tmp_path / "whole.safetensors")
    assert not load_sync_model(tmp_path / "whole.safetensors", None).view.lower_half
    assert load_sync_model(SYNCNET, None).view.lower_half  # whose card is from before they said so
