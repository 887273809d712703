"""Talkers on disk: the video, the truth beside it, the image of many."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from latentsync.cli import talkers
from latentsync.data.talkers.files import CASES, case_options, contact_strip, write_contact_sheet, write_talker
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile


def test_film_and_truth_agree(tmp_path):
    clip = write_talker(tmp_path, 3, 7, "offset", 1.0, (96, 64), Fraction(25), 10)
    video = VideoFile(tmp_path / "talker_0007_00003_offset.mp4")
    frames = [frame.pixels for frame in video.frames()]
    assert (video.info.width, video.info.height, video.info.fps) == (96, 64, 25)
    assert len(frames) == clip.n_frames == 25
    assert np.abs(np.stack(frames).astype(int) - clip.pixels()).mean() < 3
    audio = read_audio(tmp_path / "talker_0007_00003_offset.mp4")[: len(clip.waveform)]
    assert np.corrcoef(audio, clip.waveform[: len(audio)])[0, 1] > 0.9  # lossy, but not a sample late
    with np.load(tmp_path / "talker_0007_00003_offset.npz") as truth:
        assert np.array_equal(truth["landmarks"][0], clip.landmarks)
        assert np.array_equal(truth["opening"][0], clip.opening)
        assert np.array_equal(truth["waveform"], clip.waveform)
        assert truth["av_offset_frames"] == case_options("offset", 3, 1.0).av_offset_frames != 0
        assert len(truth["phones"]) == len(truth["phone_starts"]) == len(truth["phone_ends"])


@pytest.mark.parametrize("case", CASES)
def test_every_case_can_be_drawn(tmp_path, case):
    clip = write_talker(tmp_path, 0, 1, case, 0.9, (64, 64), Fraction(10), 30)
    assert clip.n_frames == 9
    assert (len(clip.cuts) == 2) == (case == "cuts")


def test_clips_of_a_run_differ(tmp_path):
    first, second = (write_talker(tmp_path, number, 1, "plain", 0.5, (64, 64), Fraction(10), 30) for number in (0, 1))
    assert first.identity_seed != second.identity_seed
    assert not np.array_equal(first.pixels(), second.pixels())


def test_contact_sheet(tmp_path):
    clip = write_talker(tmp_path, 0, 1, "plain", 0.5, (64, 32), Fraction(10), 30)
    strip = contact_strip(clip)
    assert strip.shape == (192, 3 * 384, 3)
    write_contact_sheet(tmp_path / "sheet.png", [strip] * 5)
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (2 * 192, 4 * 3 * 384, 3)


def test_the_sheet_shows_a_face_of_a_talker_who_is_away_for_a_while(tmp_path):
    clip = write_talker(tmp_path, 1, 4, "absent", 2.0, (64, 64), Fraction(25), 30)
    assert not clip.visible[np.argmax(clip.opening)]  # the widest opening is one that nobody sees
    widest = next(index for index in np.argsort(-clip.opening, kind="stable") if clip.visible[index])
    expected = cv2.resize(clip.pixels()[widest], (192, 192), interpolation=cv2.INTER_AREA)
    assert np.array_equal(contact_strip(clip)[:, 192:384], expected)


def test_command_line(tmp_path):
    words = ["--out", str(tmp_path / "new"), "--count", "2", "--seconds", "0.4", "--size", "64x48"]
    assert talkers.main([*words, "--case", "mixed"]) == 0
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == [
        "contact_sheet.png",
        "talker_0000_00000_plain.mp4",
        "talker_0000_00000_plain.npz",
        "talker_0000_00001_absent.mp4",
        "talker_0000_00001_absent.npz",
    ]


def test_command_line_refuses_a_clip_without_a_frame(tmp_path, capsys):
    with pytest.raises(SystemExit):
        talkers.main(["--out", str(tmp_path), "--seconds", "0.001"])
    assert "hold no frame" in capsys.readouterr().err
