"""Words placed in time, voices of other programs where they are installed, and all of it put together once."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from latentsync.data.grid import grid_sentences, word_times
from latentsync.data.speech import collection, synthesizers
from latentsync.data.speech.alignment import align_words, load_pocketsphinx
from latentsync.data.speech.collection import SpeechSources, gather_speech
from latentsync.data.speech.recordings import NOTHING, PHONE_NAMES
from latentsync.data.speech.synthesizers import SyntheticVoice, installed_voices, speak_sentences
from latentsync.data.speech.texts import FOREIGN, english_sentences, foreign_sentences
from latentsync.errors import DataError
from latentsync.media.audio import read_audio
from latentsync.media.cutting import write_flac
from tests.data.speech.examples import BORDERS, say_me_sue, tone
from tests.golden import shared_file


def no_detector():
    raise AssertionError("no face has to be found")


def test_words_are_found_where_they_are_said():
    said = align_words(say_me_sue(), "me sue", "example")
    sounds = [(name, start) for name, start in zip(said.phones, said.starts, strict=True) if name != "sil"]
    assert [name for name, _ in sounds] == ["m", "i", "s", "u"]
    np.testing.assert_allclose([start for _, start in sounds], BORDERS[1:5], atol=0.08)


@pytest.mark.shared
def test_words_of_a_grid_talker_begin_where_the_corpus_has_them():
    people = shared_file("people/README.md").parent
    apart = []
    for sentence in grid_sentences(people)[:4]:
        said = align_words(read_audio(sentence.path), sentence.words, sentence.name)
        begins = [start for word, start, _ in word_times(people, sentence) if word != "sil"]
        apart += [float(np.abs(said.starts - start).min()) for start in begins]
    assert len(apart) == 24
    assert np.median(apart) <= 0.03


def test_words_that_no_dictionary_has_are_named():
    with pytest.raises(DataError, match=r"example: .* zzyzx"):
        align_words(np.zeros(16000, np.float32), "me zzyzx", "example")


def test_without_the_aligner_there_are_drawn_talkers_only(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    load_pocketsphinx.cache_clear()
    try:
        with caplog.at_level(logging.INFO):
            speech = gather_speech(SpeechSources(sentences=1), tmp_path, no_detector)
    finally:
        load_pocketsphinx.cache_clear()
    assert speech.train == speech.validation == ()
    assert "pocketsphinx" in caplog.text


def test_sentences_are_of_known_words_and_stay_the_same():
    sentences = english_sentences(3, 6)
    assert sentences == english_sentences(3, 6)
    assert len(set(sentences)) == 6
    assert all(3 < len(each.split()) < 14 for each in sentences)
    for language in FOREIGN:
        words = foreign_sentences(language, 3, 2)
        assert words == foreign_sentences(language, 3, 2)
        assert all(each.replace(" ", "").isalpha() for each in words)


def test_a_folder_of_recordings_is_aligned_once_and_what_does_not_fit_is_left_out(tmp_path, monkeypatch, caplog):
    folder = tmp_path / "recordings" / "anna"
    folder.mkdir(parents=True)
    for name, words in (("one", "me sue"), ("two", "zzyzx")):
        write_flac(folder / f"{name}.flac", [np.rint(say_me_sue() * 32767).astype(np.int16)])
        (folder / f"{name}.txt").write_text(words)
    sources = SpeechSources(recordings=tmp_path / "recordings")
    speech = gather_speech(sources, tmp_path / "cache", no_detector)
    (recording,) = speech.train + speech.validation
    assert (recording.name, recording.voice) == ("one", "recorded anna")
    assert "zzyzx" in caplog.text
    monkeypatch.setattr(collection, "align_words", None)  # would fail if it were called
    again = gather_speech(sources, tmp_path / "cache", no_detector)
    np.testing.assert_array_equal((again.train + again.validation)[0].phones, recording.phones)


def test_every_voice_is_on_one_side_and_said_once(tmp_path, monkeypatch):
    voices = [SyntheticVoice("flite", f"v{number}", "en", "arpabet") for number in range(20)]
    said = []

    def speak(voice, texts):
        said.append(voice.name)
        return [tone(str(k), voice.title, 0.1) for k in range(len(texts))]

    monkeypatch.setattr(collection, "installed_voices", lambda: tuple(voices))
    monkeypatch.setattr(collection, "speak_sentences", speak)
    for _ in range(2):
        speech = gather_speech(SpeechSources(sentences=2), tmp_path, no_detector)
        sides = [{each.voice for each in side} for side in (speech.train, speech.validation)]
        assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 20 and all(sides)
    assert len(said) == 20


@pytest.mark.parametrize("program", ["flite", "festival", "espeak-ng"])
def test_installed_voices_say_which_phone_they_make_when(program):
    voices = [voice for voice in installed_voices() if voice.program == program and voice.language == "en"]
    if not voices:
        pytest.skip(f"{program} is not installed")
    (recording,) = speak_sentences(voices[0], ["see two"])
    labels = [int(label) for label in recording.phones if label != NOTHING]
    order = [PHONE_NAMES[a] for a, b in zip(labels, [*labels[1:], -1], strict=True) if a != b]
    assert "".join(each for each in order if each in ("s", "i", "t", "u")) == "situ"
    loud = np.abs(recording.samples.reshape(len(recording.phones), -1).astype(float)).mean(axis=1)
    vowels = recording.phones == PHONE_NAMES.index("i")
    assert loud[vowels].mean() > 2 * loud[recording.phones == PHONE_NAMES.index("sil")].mean()


def test_a_synthesizer_that_fails_is_named():
    with pytest.raises(DataError, match="ended with 3: no voice"):
        synthesizers._run([sys.executable, "-c", "import sys; print('no voice', file=sys.stderr); sys.exit(3)"])
