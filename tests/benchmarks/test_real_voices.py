"""Linear readings of an encoder's features, and the table of what they say of voices that were not heard."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import numpy as np
import torch
from whisper.model import ModelDimensions

from benchmarks import real_voices
from benchmarks.real_voices import Reading
from latentsync.checkpoint import save_whisper
from latentsync.data.speech.collection import Speech
from latentsync.data.speech.recordings import PHONE_NAMES, Recording
from latentsync.data.speech.symbols import translate
from latentsync.media.cutting import write_flac
from latentsync.models.whisper import WhisperTaps
from tests.data.speech.examples import BORDERS, say_me_sue


def test_a_reading_finds_what_is_linear_in_the_features_and_prefers_real_mouths():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((600, 4)).astype(np.float32) * 3 + 5
    phones = np.where(features[:, 0] > 5, 7, 0)
    real = np.arange(600) < 300
    opening = np.where(real, features[:, 1], -features[:, 1])
    reading = Reading(features, phones, opening, real)
    assert (reading.phones(features) == phones).mean() > 0.98
    assert np.corrcoef(reading.opening(features), features[:, 1])[0, 1] > 0.999


def test_the_table_has_a_column_for_each_encoder(tmp_path, monkeypatch, capsys):
    dims = ModelDimensions(80, 1500, 16, 2, 1, 0, 0, 0, 0, 0)
    encoders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        encoders.append(tmp_path / f"encoder{seed}.pt")
        save_whisper(encoders[-1], asdict(dims), WhisperTaps(dims).encoder.state_dict())
    waveform = say_me_sue()
    write_flac(tmp_path / "me.flac", [np.rint(waveform * 32767).astype(np.int16)])
    (tmp_path / "clips.tsv").write_text("me.flac\tme sue\n")
    times = zip(("pau", "m", "iy", "s", "uw", "pau"), BORDERS[:-1], BORDERS[1:], strict=True)
    known = Recording.of("me", "recorded x", waveform, translate(times, "arpabet"))
    monkeypatch.setattr(real_voices, "gather_speech", lambda *_: Speech((known,), ()))
    report = tmp_path / "report.json"
    arguments = ["--clips", str(tmp_path / "clips.tsv"), "--json", str(report), *map(str, encoders)]
    monkeypatch.setattr(sys, "argv", ["real_voices", *arguments])
    real_voices.main()
    said = capsys.readouterr().out
    assert all(str(path) in said for path in encoders)
    figures = json.loads(report.read_text())
    for path in encoders:
        of_clip = figures[str(path)]["me.flac"]
        assert of_clip["opening"] is None  # nothing is seen in a file of audio
        assert of_clip["phones"] > 0.7  # the readings were fitted to the same words
    assert PHONE_NAMES[0] == "sil"
