"""Results whose audio ends with a frame: pieces of a video that are dubbed apart have together what the whole has."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from latentsync.cli._dub_arguments import parse_arguments
from latentsync.cli.dub import make_request
from latentsync.errors import ConfigError
from latentsync.inference.job.dub import dub
from latentsync.inference.job.networks import Networks
from latentsync.inference.job.preflight import preflight
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.media.writer import EncodingOptions, write_video
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import MASK, ClockAudio, DrawnVideo, Identity, KnownFaces
from tests.media.synthetic import tone, write_wav

SOUND_RATE = 44_100
LENGTHS = (4, 3, 5, 3, 4, 6, 3, 5, 4, 3)  # frames of the pieces
SHORT = (0, 1, 700, 1700, 12, 3, 0, 1500, 99, 400)  # samples that each audio lacks of whole frames
CUTS = (0, 0.31, 0.83, 2)  # seconds between which excerpts are made


class Stubs(Networks):
    """Knows the faces of ``drawn``, and changes nothing in them."""

    def __init__(self, drawn):
        self.drawn = drawn

    def pipeline(self, choice):
        audio = ClockAudio(Fraction(len(self.drawn.times())) / self.drawn.info.fps)
        return LipsyncPipeline(lambda *given: Identity(), lambda waveform, options: audio, MASK)

    def detector(self, name, auxiliary, device):
        return KnownFaces(self.drawn)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return write_checkpoints(tmp_path_factory.mktemp("weights") / "checkpoints")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))


def drawn_video(frames, fps=25):
    return DrawnVideo(frames, 128, 128, fps=fps, face=70)


def write_piece(path, drawn, start, stop):
    frames = [frame.shown_at(k / drawn.info.fps) for k, frame in enumerate(drawn.frames(start, stop))]
    info = replace(drawn.info, n_frames=stop - start, duration=(stop - start) / drawn.info.fps)
    write_video(path, iter(frames), info, EncodingOptions("ffv1"))


def request_for(checkpoints, video, audio, output, *more):
    words = ["--video_path", str(video), "--audio_path", str(audio), "--video_out_path", str(output)]
    words += ["--checkpoint_dir", str(checkpoints), "--occlusion", "off", "--codec", "ffv1", "--whole_frames", *more]
    return make_request(parse_arguments(words))


def counted(path):
    """Frames of a file, and its audio (n,) int16."""
    with av.open(str(path)) as file:
        parts = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0)), np.concatenate(parts)


def test_ten_pieces_have_the_frames_and_samples_of_the_whole(checkpoints, tmp_path):
    drawn = drawn_video(sum(LENGTHS))
    stubs, per_frame, first, joined = Stubs(drawn), SOUND_RATE // 25, 0, [0, 0]
    for number, (length, short) in enumerate(zip(LENGTHS, SHORT, strict=True)):
        video, audio, output = (tmp_path / f"{number}{end}" for end in (".video.mkv", ".wav", ".mkv"))
        write_piece(video, drawn, first, first + length)
        write_wav(audio, tone(1, SOUND_RATE)[: length * per_frame - short], SOUND_RATE)
        done = dub(request_for(checkpoints, video, audio, output, "--length", "cut"), networks=stubs)
        frames, samples = counted(output)
        assert (frames, len(samples)) == (length, length * per_frame)
        assert samples[: len(samples) - short].any() and not samples[len(samples) - short :].any()
        told = [note for note in done.notes if "silence were put at the end" in note]
        assert told == ([f"{short / SOUND_RATE:.4f} s of silence were put at the end of the audio, so that it ends "
                         "with a frame"] if short else [])  # fmt: skip
        first, joined = first + length, [joined[0] + frames, joined[1] + len(samples)]
    video, audio, output = tmp_path / "video.mkv", tmp_path / "audio.wav", tmp_path / "result.mkv"
    write_piece(video, drawn, 0, first)
    write_wav(audio, tone(2, SOUND_RATE)[: first * per_frame - SHORT[-1]], SOUND_RATE)
    dub(request_for(checkpoints, video, audio, output), networks=stubs)
    frames, samples = counted(output)
    assert joined == [frames, len(samples)]


def test_excerpts_go_on_where_those_before_end_at_a_rate_without_whole_samples(checkpoints, tmp_path):
    drawn = drawn_video(36, Fraction(30000, 1001))
    video, audio = tmp_path / "video.mkv", write_wav(tmp_path / "audio.wav", tone(1.17, SOUND_RATE), SOUND_RATE)
    write_piece(video, drawn, 0, 36)
    stubs, excerpts = Stubs(drawn), [["--excerpt", str(a), str(b)] for a, b in zip(CUTS, CUTS[1:], strict=False)]
    found = []
    for number, more in enumerate([[], *excerpts]):
        output = tmp_path / f"result_{number}.mkv"
        dub(request_for(checkpoints, video, audio, output, *more), networks=stubs)
        found.append(counted(output))
    (frames, whole), *pieces = found
    assert sum(each for each, _ in pieces) == frames == 36
    assert len(whole) == round(36 * Fraction(1001, 30000) * SOUND_RATE)
    np.testing.assert_array_equal(np.concatenate([samples for _, samples in pieces]), whole)


@pytest.mark.parametrize(("suffix", "length"), [(".mov", 5 * 1764), (".mp4", 9 * 1024)])  # AAC is in packets
def test_other_containers(checkpoints, tmp_path, suffix, length):
    drawn = drawn_video(5)
    video, audio = tmp_path / "video.mkv", write_wav(tmp_path / "audio.wav", tone(0.17, SOUND_RATE), SOUND_RATE)
    write_piece(video, drawn, 0, 5)
    output = tmp_path / f"result{suffix}"
    dub(request_for(checkpoints, video, audio, output, "--codec", "h264"), networks=Stubs(drawn))
    frames, samples = counted(output)
    assert (frames, len(samples)) == (5, length)


def test_no_release_ends_with_whole_frames(checkpoints, tmp_path):
    drawn = drawn_video(4)
    video, audio = tmp_path / "video.mkv", write_wav(tmp_path / "audio.wav", tone(0.17, SOUND_RATE), SOUND_RATE)
    write_piece(video, drawn, 0, 4)
    with pytest.raises(ConfigError, match="--whole_frames"):
        preflight(request_for(checkpoints, video, audio, tmp_path / "out.mkv", "--compat", "1.5"), None, Stubs(drawn))
