"""Other audio, subtitles, chapters and tags of a source in the file that is made of it."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from latentsync.media.carried import Beside, CarriedTracks
from latentsync.media.encoding import EncodingOptions
from latentsync.media.output_audio import AudioPart
from latentsync.media.video import VideoFile
from latentsync.media.writer import write_video
from tests.media.synthetic import tone, write_clip, write_wav

SUBTITLES = """1
00:00:00,200 --> 00:00:00,900
Hello

2
00:00:01,500 --> 00:00:01,900
you
"""


def chapter(second, title):
    times = {"start": 1000 * second, "end": 1000 * (second + 1), "time_base": Fraction(1, 1000)}
    return {"id": second, "metadata": {"title": title}, **times}


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A clip of 2 s with two audio tracks, subtitles, chapters and tags, in Matroska."""
    folder = tmp_path_factory.mktemp("rich")
    clip = write_clip(folder / "clip.mkv", 50)
    first, second = (write_wav(folder / f"{k}.wav", tone(2, 16_000, 1, 220.0 * k)) for k in (1, 3))
    (folder / "text.srt").write_text(
        "1\n00:00:00,200 --> 00:00:00,900\nHello\n\n2\n00:00:01,500 --> 00:00:01,900\nyou\n"
    )
    path = folder / "rich.mkv"
    inputs = [av.open(str(each)) for each in (clip, first, second, folder / "text.srt")]
    with av.open(str(path), "w") as out:
        pairs = [(each, out.add_stream_from_template(each.streams[0])) for each in inputs]
        for (_, stream), language in zip(pairs[1:], ("eng", "deu", "fra"), strict=True):
            stream.metadata["language"] = language
        out.metadata.update({"title": "A film", "comment": "mine"})
        out.set_chapters([chapter(0, "one"), chapter(1, "two")])
        for source, stream in pairs:
            for packet in source.demux(source.streams[0]):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    for each in inputs:
        each.close()
    return path


def written(rich, path, seconds, otherwise="", audio=None):
    video = VideoFile(rich)
    beside = Beside(rich, video.start, Fraction(seconds), otherwise)
    options = EncodingOptions(preset="ultrafast")
    return write_video(path, video.frames(), video.info, options, audio, tags={"comment": "label"}, beside=beside)


def test_all_of_it_is_carried_over_where_the_container_takes_it(rich, tmp_path):
    result = written(rich, tmp_path / "a.mkv", 2, audio=AudioPart(rich, track=0))
    assert result.notes == ()
    with av.open(str(result.path)) as container:
        kinds = [(s.type, s.metadata.get("language")) for s in container.streams]
        assert kinds == [("video", None), ("audio", "eng"), ("audio", "deu"), ("subtitle", "fra")]
        assert [c["metadata"]["title"] for c in container.chapters()] == ["one", "two"]
        tags = {key.lower(): value for key, value in container.metadata.items()}
        assert tags["title"] == "A film" and tags["comment"] == "label\nmine"
        texts = [bytes(packet) for packet in container.demux(container.streams.subtitles[0]) if packet.size]
        assert texts == [b"Hello", b"you"]
    with av.open(str(result.path)) as container:
        second = np.concatenate([f.to_ndarray() for f in container.decode(audio=1)], axis=1)
    np.testing.assert_array_equal(second[0], tone(2, 16_000, 1, 660.0)[:, 0])


def test_only_what_is_shown_is_carried_over(rich, tmp_path):
    result = written(rich, tmp_path / "a.mkv", Fraction(6, 5))
    with av.open(str(result.path)) as container:
        assert [c["end"] * c["time_base"] for c in container.chapters()] == [1, Fraction(6, 5)]
        assert len([p for p in container.demux(container.streams.subtitles[0]) if p.size]) == 1


@pytest.mark.parametrize(
    ("suffix", "seconds", "missing", "why"),
    [
        (".mp4", 2, ["an audio track (pcm_s16le, deu)", "subtitles (subrip, fra)"], "mp4 files do not take them"),
        (".avi", 2, ["subtitles (subrip, fra)", "chapters"], "avi files do not take them"),
        (".webm", 2, ["an audio track (pcm_s16le, deu)", "subtitles (subrip, fra)"], "webm files do not take them"),
        (".mkv", 0, ["an audio track (pcm_s16le, deu)", "subtitles (subrip, fra)", "chapters"], "an excerpt"),
    ],
)
def test_what_does_not_come_along_is_named(rich, tmp_path, suffix, seconds, missing, why):
    result = written(rich, tmp_path / f"a{suffix}", seconds, "an excerpt")
    (note,) = result.notes
    assert note == f"not in the result: {', '.join(missing)} ({why})"


def test_a_track_that_cannot_be_written_does_not_end_the_work(rich, tmp_path, monkeypatch):
    """Its time stamps go back, which no muxer takes."""
    moved = CarriedTracks._moved

    def going_back(self, source):
        for count, (begin, number, packet) in enumerate(moved(self, source)):
            if source.streams[number].type == "subtitle":
                packet.pts = packet.dts = 5000 - count
            yield begin, number, packet

    monkeypatch.setattr(CarriedTracks, "_moved", going_back)
    result = written(rich, tmp_path / "a.mkv", 2)
    assert result.n_frames == 50
    assert result.notes == ("not in the result from 1.5 s on: subtitles (subrip, fra) (damaged)",)
