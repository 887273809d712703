"""Symbols of other programs as phones, recordings with labels in time, and the file that keeps them."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.data.speech.recordings import (
    MOUTH_NAMES,
    NOTHING,
    PHONE_NAMES,
    Recording,
    read_recordings,
    write_recordings,
)
from latentsync.data.speech.symbols import UNKNOWN, translate
from latentsync.data.talkers.phones import CODAS, ONSETS, PHONES, VOWELS
from tests.data.speech.examples import tone


@pytest.mark.parametrize(
    ("alphabet", "symbols", "phones"),
    [
        ("arpabet", ["pau", "JH", "ey1", "n", "zh"], "sil d Z e I n Z"),
        ("sampa", ["#", "tS", "a1", "rr", "L", "O1", "i:"], "sil t S a rr l j O i"),
        ("ipa", ["#", "ˈaɪ", "t͡s"[0] + "s", "ŋ", "øː"], "sil a I t s N y"),
    ],
)
def test_symbols_become_phones_of_the_talkers(alphabet, symbols, phones):
    times = [(symbol, 0.2 * k, 0.2 * (k + 1)) for k, symbol in enumerate(symbols)]
    said = translate(times, alphabet)
    assert list(said.phones) == phones.split()
    assert set(said.phones) <= set(PHONES)
    np.testing.assert_allclose(said.starts[1:], said.ends[:-1])
    assert said.ends[-1] == pytest.approx(0.2 * len(symbols))


def test_the_first_vowel_of_a_diphthong_is_the_longer_one():
    said = translate([("aw", 1.0, 2.0)], "arpabet")
    assert said.phones == ("a", "U")
    assert said.ends[0] - said.starts[0] > said.ends[1] - said.starts[1]


def test_a_short_vowel_of_but_is_reduced():
    assert translate([("AH", 0, 0.05)], "arpabet").phones == ("@",)
    assert translate([("AH", 0, 0.15)], "arpabet").phones == ("A",)


def test_what_no_table_knows_teaches_nothing():
    said = translate([("iy", 0, 0.5), ("qq", 0.5, 1.0)], "arpabet")
    assert said.phones == ("i", UNKNOWN)
    recording = Recording.of("x", "some voice", np.zeros(16000), said)
    assert (recording.phones[:25] == PHONE_NAMES.index("i")).all()
    assert (recording.phones[25:] == NOTHING).all()


def test_sounds_of_real_languages_are_in_no_word_of_the_talkers():
    added = {"N", "D", "Z", "x", "rr"}
    assert added < set(PHONES)
    assert not added & {*ONSETS, *VOWELS, *CODAS}
    assert PHONE_NAMES[0] == "sil"
    assert set(PHONE_NAMES[-5:]) == added  # at the end: the numbers of the others stay


def test_the_mouth_follows_the_phones_unless_it_was_measured():
    drawn = tone("one", "some voice")
    opening = drawn.mouth[:, MOUTH_NAMES.index("opening")]
    assert opening[:20].max() < 0.02 < 0.2 < opening[35]
    measured = np.full((50, 2), 0.75, np.float32)
    said = translate([("m", 0, 1.0)], "arpabet")
    other = Recording.of("two", "some voice", np.zeros(16000), said, measured)
    np.testing.assert_array_equal(other.mouth[:, :2], measured)
    assert other.mouth[:, 2:].any()


def test_a_file_of_recordings_gives_them_back(tmp_path):
    path = tmp_path / "some.npz"
    kept = [tone("one", "voice a", 0.5), tone("two", "voice b", 1.0)]
    write_recordings(path, kept)
    for old, new in zip(kept, read_recordings(path), strict=True):
        assert (old.name, old.voice, old.seconds) == (new.name, new.voice, new.seconds)
        np.testing.assert_array_equal(old.samples, new.samples)
        np.testing.assert_array_equal(old.phones, new.phones)
        np.testing.assert_allclose(old.mouth, new.mouth, atol=1e-3)
    write_recordings(path, [])
    assert not list(read_recordings(path))
