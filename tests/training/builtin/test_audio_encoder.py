"""The audio encoder's training, what it writes, and the sentences that it learns from."""

from __future__ import annotations

import csv

import numpy as np
import torch

from latentsync.config import load_config
from latentsync.constants import FEATURE_RATE
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.speech.collection import Speech
from latentsync.data.speech.dataset import MOUTH_NAMES, NOTHING, PHONE_NAMES, SpeechDataset, speak
from latentsync.data.talkers.clip import make_talker
from latentsync.features.audio_encoder import AudioEncoder
from latentsync.training.builtin import audio_encoder
from latentsync.training.builtin.audio_encoder import train_audio_encoder
from latentsync.training.builtin.recipes import AudioEncoderRecipe
from latentsync.training.loop.trainer import TrainingResult
from tests.data.speech.examples import tone
from tests.training.tiny_unet import ROOT

SMALL = [
    "data.sentences=2", "data.sentences_per_voice=0", "data.degraded=false",
    "data.validation_sentences=2", "data.sentence_seconds=2", "data.batch_size=1",
    "data.num_val_samples=1", "model.width=16", "model.heads=2", "model.blocks=1", "run.log_steps=1",
    "run.max_train_steps=2", "optimizer.lr_warmup_steps=0",
]  # fmt: skip


def test_training_writes_a_file_that_the_audio_encoder_reads(tmp_path):
    overrides = [*SMALL, f"data.train_output_dir={tmp_path}"]
    recipe = load_config(ROOT / "configs/audio_encoder/talkers.yaml", AudioEncoderRecipe, overrides)
    assert train_audio_encoder(recipe, "run") is TrainingResult.FINISHED
    encoder = AudioEncoder.from_file(tmp_path / "run" / "weights" / "last.pt")
    features = encoder.encode(speak(7, 1.0).waveform)
    assert features.states.shape == (50, 2, 16)
    with (tmp_path / "run" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [0, 2]
    assert all(0 <= float(row["phone_accuracy"]) <= 1 for row in rows)


def test_labels_say_what_the_talker_of_the_same_sentence_does():
    spoken = speak(3, 2.0)
    clip = make_talker(3, 3, 0, seconds=2.0, size=64)
    np.testing.assert_allclose(spoken.waveform, clip.waveform, atol=1e-6)
    opening = spoken.mouth[:: FEATURE_RATE // 25, MOUTH_NAMES.index("opening")]
    assert np.corrcoef(opening, clip.opening)[0, 1] > 0.999
    said = [PHONE_NAMES[k] for k in spoken.phones]
    middle = (clip.utterance.starts + clip.utterance.ends) / 2
    assert [said[round(t * FEATURE_RATE)] for t in middle] == list(clip.utterance.phones)


def test_windows_are_filled_in_part_or_wholly_and_are_the_same_each_time():
    data = SpeechDataset(sentences=3, seconds=2.0, seed=11)
    lengths = []
    for index in range(3):
        for epoch in range(4):
            mel, phones, mouth, _ = data[SampleKey(epoch, index)]
            spoken = int((phones != NOTHING).sum())
            lengths.append(spoken)
            assert (phones[:spoken] != NOTHING).all()
            assert not mel[:, 2 * spoken :].any()
            assert mel[:, : 2 * spoken].any(dim=0).all()
            assert not mouth[spoken:].any()
            again = data[SampleKey(epoch, index)]
            assert torch.equal(mel, again[0])
    assert min(lengths) < 1500 == max(lengths)


def test_windows_mix_the_kinds_by_their_shares_and_are_the_same_each_time():
    recordings = [tone("a", "grid s1"), tone("b", "flite one"), tone("c", "flite two"), tone("d", "other x")]
    shares = {"drawn": 1.0, "grid": 1.0, "flite": 2.0}
    data = SpeechDataset(2, 1.0, 11, recordings, shares, degraded=True)
    assert len(data) == 6
    for key in (SampleKey(0, 0), SampleKey(3, 5)):
        mel, phones, mouth, _ = data[key]
        spoken = int((phones != NOTHING).sum())
        assert (phones[:spoken] != NOTHING).all() and not mel[:, 2 * spoken :].any() and not mouth[spoken:].any()
        assert all(torch.equal(a, b) for a, b in zip(data[key][:3], (mel, phones, mouth), strict=True))
    assert not torch.equal(data[SampleKey(0, 1)][0], data[SampleKey(1, 1)][0])
    vowel = PHONE_NAMES.index("i")
    plain = SpeechDataset(2, 1.0, 11, recordings, {"flite": 1.0})
    seen = torch.cat([plain[SampleKey(epoch, 0)][1] for epoch in range(4)])
    assert set(seen.tolist()) == {NOTHING, 0, vowel}  # no talker's sentence is among them


def test_labels_stay_with_what_is_heard_in_degraded_windows():
    data = SpeechDataset(2, 1.0, 11, [tone("b", "flite one")], {"flite": 1.0}, degraded=True)
    vowel, right = PHONE_NAMES.index("i"), []
    for epoch in range(6):
        mel, phones, _, _ = data[SampleKey(epoch, 0)]
        spoken = phones != NOTHING
        loud = mel[:14].reshape(14, -1, 2).mean(dim=(0, 2))[spoken]  # the tone of about 300 Hz
        threshold = (loud.max() + loud.min()) / 2
        right.append(float(((loud > threshold) == (phones[spoken] == vowel)).float().mean()))
    assert np.median(right) > 0.9


def test_training_uses_the_speech_that_its_folders_name(tmp_path, monkeypatch):
    asked = []

    def gather(sources, cache, detector):
        asked.append((sources, cache))
        return Speech((tone("a", "grid s1"), tone("b", "flite one")), (tone("c", "flite two"),))

    monkeypatch.setattr(audio_encoder, "gather_speech", gather)
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    overrides = [*SMALL, f"data.train_output_dir={tmp_path}", f"data.people={tmp_path}", "data.sentences_per_voice=3"]
    recipe = load_config(ROOT / "configs/audio_encoder/talkers.yaml", AudioEncoderRecipe, overrides)
    assert train_audio_encoder(recipe, "run") is TrainingResult.FINISHED
    ((sources, cache),) = asked
    assert (sources.people, sources.recordings, sources.sentences) == (tmp_path, None, 3)
    assert cache == tmp_path / "cache" / "speech"
