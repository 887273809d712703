"""Whoever speaks: turns found in the video, the cast that they become, and what is said where nobody can be told."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from latentsync.cli.dub import make_request, parse_arguments
from latentsync.errors import ConfigError, NoFaceError, StoppedError
from latentsync.inference.job import speakers
from latentsync.inference.job.dub import dub
from latentsync.inference.job.networks import Networks
from latentsync.inference.job.preflight import LOOKING_WHO_SPEAKS, preflight
from latentsync.inference.job.progress import RunControl
from latentsync.inference.job.speakers import SILENT, UNSURE, smoothed
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.media.audio import read_audio
from latentsync.media.output_audio import AudioPart
from latentsync.media.writer import EncodingOptions, write_video
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import MASK, ClockAudio, Crowd, Identity, KnownCrowd
from tests.media.synthetic import write_wav

FRAMES, TURN = 80, 40


class Talkers(Crowd):
    """Two faces; the mouth of each moves in its ``turns`` (from, to) in frames."""

    def __init__(self, turns):
        super().__init__(FRAMES, centres=((64, 60), (190, 60)), sizes=(60.0, 64.0), width=256, height=128)
        self.turns = turns

    def faces(self, index):
        faces = super().faces(index)
        for points, (start, stop) in zip(faces, self.turns, strict=True):
            if start <= index < stop:
                points[65:68, 1] += np.ptp(points[36:46, 0]) * (0.12 + 0.12 * np.sin(1.3 * index))
        return faces


class Stubs(Networks):
    """Knows the faces of ``drawn``, and changes nothing in them."""

    def __init__(self, drawn):
        self.drawn = drawn

    def pipeline(self, choice):
        return LipsyncPipeline(lambda *given: Identity(), lambda *given: ClockAudio(4), MASK)

    def detector(self, name, auxiliary, device):
        return KnownCrowd(self.drawn)


def noise(seconds, seed=0):
    """(n, 1) int16 at 16 kHz, which counts as speech."""
    samples = np.random.default_rng(seed).normal(0, 3000, int(seconds * 16_000))
    return np.clip(samples, -32768, 32767).astype(np.int16)[:, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speakers")
    write_wav(folder / "own.wav", noise(FRAMES / 25), 16_000)
    write_wav(folder / "new.wav", noise(FRAMES / 25, seed=1), 16_000)
    write_wav(folder / "short.wav", noise(2, seed=2), 16_000)
    write_checkpoints(folder / "checkpoints")
    drawn = Talkers(((0, TURN), (TURN, FRAMES)))
    write_video(folder / "turns.mkv", drawn.frames(), drawn.info, EncodingOptions("ffv1"), folder / "own.wav")
    write_video(folder / "mute.mkv", drawn.frames(), drawn.info, EncodingOptions("ffv1"))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))


def request_for(folder, output, *more, video="turns.mkv", audio="new.wav"):
    words = ["--video_path", str(folder / video), "--audio_path", str(folder / audio), "--video_out_path", str(output)]
    words += ["--checkpoint_dir", str(folder / "checkpoints"), "--occlusion", "off", "--codec", "ffv1", *more]
    return make_request(parse_arguments(words))


@pytest.fixture(scope="module")
def stubs():
    return Stubs(Talkers(((0, TURN), (TURN, FRAMES))))


def test_the_turns_of_two_speakers_are_dubbed_with_one_audio(folder, stubs, tmp_path):
    output, report = tmp_path / "out.mkv", tmp_path / "report.json"
    said: list[str] = []
    request = request_for(folder, output, "--face", "speaking", "--report", str(report))
    done = dub(request, networks=stubs, on_note=said.append)
    assert said[0] == LOOKING_WHO_SPEAKS  # before it begins
    turns = json.loads(report.read_text(encoding="utf-8"))["turns"]
    named = [turn for turn in turns if turn["person"] is not None]
    assert [turn["person"] for turn in named] == [0, 1]
    assert named[0]["from"] == 0 and named[1]["to"] == FRAMES / 25
    assert TURN / 25 - 0.65 < named[0]["to"] <= named[1]["from"] < TURN / 25 + 0.65
    assert all(0 < turn["confidence"] <= 1 for turn in named)
    assert [int(turn["face"].split(",")[0]) // 128 for turn in named] == [0, 1]
    assert speakers.NO_NETWORK in done.notes and any("person 1 (" in note for note in done.notes)
    told = any(note.startswith("unsure who speaks") for note in done.notes)
    assert told == any(turn["person"] is None for turn in turns)
    assert done.record.frames == FRAMES
    np.testing.assert_array_equal(read_audio(output), read_audio(folder / "new.wav"))


def test_a_request_of_sync_so_for_whoever_speaks_keeps_its_audio_between_the_turns(folder, stubs, tmp_path):
    segment = {"startTime": 0.4, "endTime": 3, "audioInput": {"refId": "a"}}
    wanted = {
        "input": [{"type": "video", "url": "turns.mkv"}, {"type": "audio", "url": "short.wav", "refId": "a"}],
        "segments": [segment],
        "options": {"active_speaker_detection": {"auto_detect": True}},
    }
    (folder / "request.json").write_text(json.dumps(wanted), encoding="utf-8")
    words = ["--scene", str(folder / "request.json"), "--video_out_path", str(tmp_path / "out.mkv")]
    words += ["--checkpoint_dir", str(folder / "checkpoints"), "--occlusion", "off"]
    checked = preflight(make_request(parse_arguments(words)), None, stubs)
    first, second = (part for role in checked.cast.roles for part in role.parts)
    audio = read_audio(folder / "short.wav")
    assert (first.start, second.stop) == (Fraction(2, 5), Fraction(12, 5))  # the audio is over
    for part in (first, second):
        begins = round((part.start - Fraction(2, 5)) * 16_000)
        np.testing.assert_array_equal(part.waveform, audio[begins : begins + len(part.waveform)])
    assert [(piece.start, piece.stop) for piece in checked.mix.pieces] == [(Fraction(2, 5), 3)]


def test_blocks_of_a_long_video_say_what_one_look_says(folder, stubs, tmp_path, monkeypatch):
    request = request_for(folder, tmp_path / "out.mkv", "--face", "speaking")
    whole = preflight(request, None, stubs).turns
    monkeypatch.setattr(speakers, "BLOCK", 20)
    parts = preflight(request, None, stubs).turns
    assert [(t.person, t.start, t.stop) for t in parts.turns] == [(t.person, t.start, t.stop) for t in whole.turns]


def test_the_look_for_who_speaks_ends_when_it_is_asked_to(folder, stubs, tmp_path):
    """By whoever hears of its progress, as a worker of the service that learns so that its job was deleted."""
    heard: list[tuple[str, int]] = []

    def on_progress(stage, done, total):
        heard.append((stage, done))
        if len(heard) == 10:
            control.stop()

    control = RunControl(on_progress)
    with pytest.raises(StoppedError):
        dub(request_for(folder, tmp_path / "out.mkv", "--face", "speaking"), networks=stubs, control=control)
    assert heard == [("looking for who speaks", 0)] * 10 and not (tmp_path / "out.mkv").exists()


def test_nobody_is_dubbed_where_nobody_can_be_told(folder, tmp_path):
    both = Talkers(((0, FRAMES), (0, FRAMES)))
    own = AudioPart(folder / "own.wav")
    write_video(tmp_path / "both.mkv", both.frames(), both.info, EncodingOptions("ffv1"), own)
    request = request_for(folder, tmp_path / "out.mkv", "--face", "speaking", video=tmp_path / "both.mkv")
    with pytest.raises(NoFaceError, match="nobody was seen to speak"):
        preflight(request, None, Stubs(both))


@pytest.mark.parametrize(
    ("more", "video", "word"),
    [(["--compat", "1.5"], "turns.mkv", "No release"), ([], "mute.mkv", "no sound of its own")],
)
def test_what_cannot_be_told_is_refused(folder, stubs, tmp_path, more, video, word):
    with pytest.raises(ConfigError, match=word):
        preflight(request_for(folder, tmp_path / "out.mkv", "--face", "speaking", *more, video=video), None, stubs)


def test_pauses_and_doubts_inside_a_turn_belong_to_it():
    n, u = SILENT, UNSURE
    assert smoothed([0, 0, n, n, 0, 0]) == [0] * 6
    assert smoothed([0, 0, u, u, 0, 0]) == [0] * 6
    assert smoothed([0, 0, u, u, u, 0, 0]) == [0, 0, u, u, u, 0, 0]
    assert smoothed([0, 0, u, 1, 1]) == [0, 0, u, 1, 1]
    assert smoothed([0, 0, 0, 1, 0, 0]) == [0] * 6  # one verdict is no turn
    assert smoothed([n, n, n, 0, 0, n, n, n, 1, 1]) == [n, n, 0, 0, 0, 0, n, 1, 1, 1]
    assert smoothed([n, 1, n]) == [n, u, n]
