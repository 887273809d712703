from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentsync.errors import OutputError, VideoError
from latentsync.media.audio import audio_blocks, read_audio
from latentsync.media.cutting import AudioReader, Piece, cut, replace_audio, write_flac
from latentsync.media.output_audio import AudioPart
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame, VideoInfo
from tests.media.synthetic import picture, read_number

FPS = Fraction(25)
N = 60
SAMPLES = 640  # per frame


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """(path, sound) of 60 numbered frames with key frames at 0, 17 and 40, and a sound that nothing can compress."""
    folder = tmp_path_factory.mktemp("film")
    sound = (np.random.default_rng(0).standard_normal(N * SAMPLES) * 3000).astype(np.int16)
    write_flac(folder / "sound.flac", [sound[:1000], sound[1000:]])
    info = VideoInfo(folder / "none", 96, 64, FPS, N, N / FPS)
    frames = (ArrayFrame(i, i / FPS, picture(i)) for i in range(N))
    options = EncodingOptions("h264", 14, "veryfast")  # with B frames
    exact = AudioPart(folder / "sound.flac", copied=True)
    write_video(folder / "film.mp4", frames, info, options, exact, key_frames={0, 17, 40})
    return folder / "film.mp4", sound


def numbers(path) -> list[int]:
    return [read_number(frame.pixels) for frame in VideoFile(path).frames()]


def samples(path) -> np.ndarray:
    return np.rint(read_audio(path) * 32768).astype(np.int16)


def test_flac_keeps_every_sample(film):
    path, sound = film
    assert np.array_equal(samples(path), sound)
    assert np.array_equal(np.concatenate(list(audio_blocks(path))), sound)


@pytest.mark.parametrize("spans", [[(0, 17), (17, 40), (40, 60)], [(17, 40)], [(0, 17), (40, 60)]])
def test_pieces_are_exact_in_picture_and_sound(film, tmp_path, spans):
    path, sound = film
    pieces = [Piece(*span, tmp_path / f"{k}.mp4") for k, span in enumerate(spans)]
    cut(path, pieces, FPS)
    for piece in pieces:
        assert numbers(piece.path) == list(range(piece.start, piece.stop))
        info = VideoFile(piece.path).info
        assert (info.fps, info.n_frames, info.variable_frame_rate) == (25, piece.stop - piece.start, False)
        assert np.array_equal(samples(piece.path), sound[piece.start * SAMPLES : piece.stop * SAMPLES])


def test_pictures_are_copied_not_encoded(film, tmp_path):
    import av

    path, _ = film
    cut(path, [Piece(17, 40, tmp_path / "p.mp4")], FPS)
    packets = {}
    for file in (path, tmp_path / "p.mp4"):
        with av.open(str(file)) as container:
            packets[file] = [bytes(p) for p in container.demux(video=0) if p.size]
    assert packets[tmp_path / "p.mp4"] == packets[path][17:40]


@pytest.mark.parametrize("span", [(3, 17), (40, 61)])
def test_a_piece_without_key_frame_or_end_is_refused(film, tmp_path, span):
    with pytest.raises(VideoError, match="cannot be cut"):
        cut(film[0], [Piece(*span, tmp_path / "p.mp4")], FPS)


def test_a_rate_that_samples_do_not_fit_is_refused(film, tmp_path):
    with pytest.raises(ValueError, match="whole number"):
        cut(film[0], [Piece(0, 17, tmp_path / "p.mp4")], Fraction(30000, 1001))


def test_a_place_that_cannot_be_written_is_named(film, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        cut(film[0], [Piece(0, 17, tmp_path / "gone" / "p.mp4")], FPS)


def test_another_sound_is_cut_or_filled_to_the_pictures(film, tmp_path):
    path, sound = film
    replace_audio(path, sound[:5000], tmp_path / "short.mp4")
    assert np.array_equal(samples(tmp_path / "short.mp4"), np.pad(sound[:5000], (0, N * SAMPLES - 5000)))
    replace_audio(path, np.tile(sound, 2), tmp_path / "long.mp4")
    assert np.array_equal(samples(tmp_path / "long.mp4"), sound)
    assert numbers(tmp_path / "long.mp4") == list(range(N))


@given(st.lists(st.integers(0, 7), max_size=8), st.lists(st.integers(0, 9), max_size=8))
def test_a_sound_reader_gives_all_samples_in_order(blocks, reads):
    total = sum(blocks)
    pieces = np.split(np.arange(1, total + 1, dtype=np.int16), np.cumsum(blocks)[:-1]) if blocks else []
    reader = AudioReader(pieces)
    given_out = np.concatenate([np.zeros(0, np.int16), *(reader.read(count) for count in reads)])
    assert len(given_out) == sum(reads)
    expected = np.arange(1, sum(reads) + 1)
    assert np.array_equal(given_out, np.where(expected <= total, expected, 0))
