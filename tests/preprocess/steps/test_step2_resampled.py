from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentsync.media.audio import read_audio
from latentsync.media.rate import at_rate
from latentsync.media.video import VideoFile
from latentsync.preprocess.clip_record import ClipRecord, StepInput
from latentsync.preprocess.steps import step2_resampled
from latentsync.types import ArrayFrame
from tests.media.synthetic import read_number, tone, write_clip
from tests.preprocess.world import draw_talk, small_settings

BLANK = np.zeros((2, 2, 3), np.uint8)


@given(
    st.lists(st.integers(1, 40), min_size=0, max_size=40),
    st.integers(1, 60),
)
def test_the_nearest_frame_is_shown(steps, count):
    times = np.cumsum([0, *steps])  # in hundredths of a second
    frames = [ArrayFrame(i, Fraction(int(t), 100), np.full((1, 1, 3), i % 256, np.uint8)) for i, t in enumerate(times)]
    shown = [int(frame.pixels[0, 0, 0]) for frame in at_rate(frames, count)]
    for index, source in enumerate(shown):
        distance = np.abs(times - 4 * index)
        assert distance[source] == distance.min()


def test_a_source_of_that_rate_passes_unchanged():
    frames = [ArrayFrame(i, Fraction(i, 25), np.full((1, 1, 3), i, np.uint8)) for i in range(30)]
    assert [int(f.pixels[0, 0, 0]) for f in at_rate(frames, 30)] == list(range(30))
    assert [f.time for f in at_rate(frames, 30)] == [f.time for f in frames]


def run(path: Path, folder: Path):
    folder.mkdir()
    job = StepInput(ClipRecord("0" * 32, "clip.mp4"), path, folder, folder / "faces.npz")
    return step2_resampled.run(job, small_settings(path.parent), None)


@pytest.mark.parametrize(("fps", "seconds"), [(30, 2), (Fraction(30000, 1001), 2), (50, 1), (Fraction(24), 2)])
def test_rate_length_and_sound(tmp_path, fps, seconds):
    n_source = round(fps * seconds)
    path = write_clip(tmp_path / "a.mp4", n_source, fps=fps, sound=tone(seconds, 44_100, 2), sound_rate=44_100)
    result = run(path, tmp_path / "out")
    video = VideoFile(result.made[0].file)
    assert (video.info.fps, video.info.n_frames) == (25, round(n_source / Fraction(fps) * 25))
    assert len(read_audio(result.made[0].file)) == 640 * video.info.n_frames
    shown = [read_number(frame.pixels) for frame in video.frames()]
    assert all(abs(number / fps - index / 25) <= Fraction(1, 2) / fps for index, number in enumerate(shown))


def test_sound_that_begins_later_is_put_in_its_place(tmp_path):
    import av

    path = draw_talk(tmp_path / "a.mp4", 2.0, sound_codec="flac")
    late = tmp_path / "late.mkv"
    with av.open(str(path)) as source, av.open(str(late), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        packets = sorted((p for p in source.demux() if p.size), key=lambda p: p.dts * p.time_base)
        for packet in packets:
            if packet.stream.type == "audio":
                shift = round(Fraction(1, 5) / packet.time_base)
                packet.pts += shift
                packet.dts += shift
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    before = read_audio(run(path, tmp_path / "a").made[0].file)
    after = read_audio(run(late, tmp_path / "b").made[0].file)
    shift = 3200  # samples, 0.2 s
    assert not after[: shift - 100].any()
    assert np.abs(after[shift + 100 : 20_000] - before[100 : 20_000 - shift]).max() < 0.02


def test_pixels_become_square(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 30, sound=tone(1.2), sample_aspect_ratio=Fraction(4, 3))
    info = VideoFile(run(path, tmp_path / "out").made[0].file).info
    assert (info.width, info.height, info.sample_aspect_ratio) == (128, 64, 1)


def test_key_frames_lie_where_pieces_begin(tmp_path):
    path = draw_talk(tmp_path / "a.mp4", 4.0, cuts=(40,))
    result = run(path, tmp_path / "out")
    assert result.made[0].clip.cuts == (40,)
    keys = VideoFile(result.made[0].file)._clip.timeline.keys
    assert {0, 25, 40, 65, 90} <= set(keys.tolist())
