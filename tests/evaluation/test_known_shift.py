"""A/V offsets that are known: talkers, and a sync network that was trained on talkers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentsync.cli import sync_confidence
from latentsync.errors import DataError
from latentsync.evaluation.faces import follow_face, given_faces
from latentsync.evaluation.missing import Missing
from latentsync.evaluation.networks import load_sync_network
from latentsync.evaluation.recordings import open_recording
from latentsync.evaluation.sync import stable_sync_fit
from tests.evaluation.world import SETTINGS, SYNCNET, talker, write_talker
from tests.metrics.sync_networks import write_whole_face


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = write_talker(tmp_path_factory.mktemp("shift") / "clip.mp4", talker(1, seconds=4.0, size=192))
    recording = open_recording(path)
    faces = follow_face(recording, Missing(), given_faces(path), SETTINGS)
    return load_sync_network(SYNCNET, None), recording, faces


@pytest.mark.parametrize("early", range(-5, 6))
def test_a_known_shift_is_recovered_exactly(scene, early: int) -> None:
    network, recording, faces = scene
    gap = np.zeros(abs(early) * 640, np.float32)
    audio = recording.audio
    shifted = np.concatenate([audio[len(gap) :], gap] if early > 0 else [gap, audio[: len(audio) - len(gap)]])
    fit = stable_sync_fit(network, faces, shifted, recording, SETTINGS.resolution)
    assert -fit.offset.frames == early
    assert fit.offset.confidence > 0.2


def test_a_known_shift_of_files_is_recovered_by_the_command(tmp_path) -> None:
    clip = talker(1, seconds=4.0, size=192)
    for early in (-5, 5):
        audio = np.roll(clip.waveform, -early * 640)
        write_talker(tmp_path / "videos" / f"{early}.mp4", replace(clip, waveform=audio))
    arguments = [
        "--videos_dir",
        str(tmp_path / "videos"),
        "--initial_model",
        str(SYNCNET),
        "--auxiliary",
        str(tmp_path),
    ]
    assert sync_confidence.main([*arguments, "--json_path", str(tmp_path / "found.json")]) == 0
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert {Path(row["video"]).stem: row["offset"] for row in rows} == {"-5": -5, "5": 5}


def test_audio_too_short_is_named(scene) -> None:
    network, recording, faces = scene
    with pytest.raises(DataError, match="too short"):
        stable_sync_fit(network, faces, recording.audio[:4000], recording, SETTINGS.resolution)


def test_a_network_on_the_whole_face_is_loaded_as_one(tmp_path) -> None:
    write_whole_face(tmp_path / "whole.safetensors")
    assert not load_sync_network(tmp_path / "whole.safetensors", None).view.lower_half
    assert load_sync_network(SYNCNET, None).view.lower_half
