"""How well audio encoders tell the phones and the mouths of real people that they have not heard.

    python -m benchmarks.real_voices --clips CLIPS.tsv --people DIR [--recordings DIR] [--sentences N] \
        [--detector DIR] ENCODER.pt [ENCODER.pt ...]

CLIPS.tsv has a line for each clip to measure on: its file, a tab, the English words in it (or nothing: then only its
mouth is measured). Phones are found by forced alignment (pocketsphinx). An encoder's features are read linearly. The
readings are fitted here, in the same way for every encoder, to speech of other voices: the GRID talker in --people,
--recordings, and N sentences of every installed synthetic voice. Of clips that are videos, the opening of the mouth is
measured over the first 10 s, with the face detector in the folder --detector, and correlated with what is read from the
audio. Readings of openings are fitted to all that is filmed in --people. A clip's correlation is the best of those with
its audio moved by up to 5 frames, for clips as they are found come with an offset of their own, which is printed.

The vowels of "but" and of "the" count as one; dictionaries write them alike.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import row_of
from latentsync.constants import FEATURE_RATE, MODEL_FPS
from latentsync.data.grid import SPEAKER
from latentsync.data.speech.alignment import align_words
from latentsync.data.speech.collection import SpeechSources, gather_speech
from latentsync.data.speech.recordings import (
    MOUTH_NAMES,
    NOTHING,
    PHONE_NAMES,
    SAMPLES_PER_POSITION,
    Recording,
    labels_of,
)
from latentsync.errors import LatentSyncError
from latentsync.face.backends.yunet import load as load_yunet
from latentsync.face.selection import FaceSelector
from latentsync.face.tracking import track_faces
from latentsync.features.audio_encoder import AudioEncoder
from latentsync.media.audio import audio_delay, read_audio
from latentsync.media.video import VideoFile
from latentsync.metrics.mouth import fill_gaps, mouth_opening
from latentsync.places import cache_folder

OPENING = MOUTH_NAMES.index("opening")
ALIKE = {PHONE_NAMES.index("A"): PHONE_NAMES.index("@")}
SILENCE = PHONE_NAMES.index("sil")
FIGURES = ("phones", "phones_in_speech", "opening", "opening_offset")
OFFSETS = range(-5, 6)  # frames that the audio of a clip may be late by
FRAME = float(1 / MODEL_FPS)  # s
FITTED = 60_000  # positions that the readings are fitted to, at most; more where more are filmed
ROUNDS = 60  # of L-BFGS
SECONDS = 10  # of a video, at most, that faces are looked for in
RIDGE = 1e-2  # of the squared weights of the opening's reading, features having deviation 1
DECAY = 1e-4  # of the squared weights of a reading


@dataclass(frozen=True)
class Measured:
    """A clip to measure on: ``phones`` (p,), and of a video ``opening`` (N,) at ``times`` (N,) s of its audio."""

    name: str
    waveform: np.ndarray
    phones: np.ndarray | None
    opening: np.ndarray | None
    times: np.ndarray | None


class Reading:
    """What linear layers say of features, after these were brought to mean 0 and deviation 1."""

    def __init__(self, features: np.ndarray, phones: np.ndarray, opening: np.ndarray, measured: np.ndarray) -> None:
        """``features`` (K, D), ``phones`` (K,), ``opening`` (K,); ``measured`` (K,) bool: of a real mouth. Where there
        are such, openings are fitted to them alone."""
        self._mean, self._scale = features.mean(axis=0), features.std(axis=0) + 1e-5
        inputs = self._inputs(features)
        self._names = _fit_names(inputs, torch.from_numpy(phones))
        chosen = measured if measured.any() else np.ones(len(measured), bool)
        seen, wanted = inputs[chosen], torch.from_numpy(opening[chosen].astype(np.float32))
        square = seen.T @ seen + len(seen) * RIDGE * torch.eye(seen.shape[1])
        self._opening = torch.linalg.solve(square, seen.T @ wanted)

    def phones(self, features: np.ndarray) -> np.ndarray:
        """(K,) indices."""
        with torch.no_grad():
            return self._names(self._inputs(features)).argmax(dim=1).numpy()

    def opening(self, features: np.ndarray) -> np.ndarray:
        """(K,)"""
        return (self._inputs(features) @ self._opening).numpy()

    def _inputs(self, features: np.ndarray) -> Tensor:
        scaled = (features - self._mean) / self._scale
        return torch.from_numpy(np.column_stack([scaled, np.ones(len(scaled))]).astype(np.float32))


def _fit_names(inputs: Tensor, truth: Tensor) -> nn.Linear:
    layer = nn.Linear(inputs.shape[1], len(PHONE_NAMES), bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=ROUNDS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(layer(inputs), truth) + DECAY * layer.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return layer


def features_of(encoder: AudioEncoder, waveform: np.ndarray) -> np.ndarray:
    """(p, L * D): all taps beside each other."""
    states = np.asarray(encoder.encode(waveform).states)
    return states.reshape(len(states), -1)


def fit(encoder: AudioEncoder, recordings: Sequence[Recording]) -> Reading:
    """Readings of an encoder; sentences are encoded ten at a time, as one file."""
    features, phones, opening, measured = [], [], [], []
    for first in range(0, len(recordings), 10):
        group = [each.spoken() for each in recordings[first : first + 10]]
        found = features_of(encoder, np.concatenate([each.waveform for each in group]))
        features.append(found)
        phones.append(np.concatenate([each.phones for each in group])[: len(found)])
        opening.append(np.concatenate([each.mouth[:, OPENING] for each in group])[: len(found)])
        real = [np.full(len(each.phones), each.voice == SPEAKER) for each in recordings[first : first + 10]]
        measured.append(np.concatenate(real)[: len(found)])
    labels, inputs = np.concatenate(phones), np.concatenate(features)
    known = np.flatnonzero(labels != NOTHING)
    return Reading(inputs[known], labels[known], np.concatenate(opening)[known], np.concatenate(measured)[known])


def some_of(recordings: Sequence[Recording], seed: int) -> list[Recording]:
    """All that are filmed, and at random as many of the others as hold ``FITTED`` positions together with them."""
    filmed = [each for each in recordings if each.voice == SPEAKER]
    others = [each for each in recordings if each.voice != SPEAKER]
    chosen, left = filmed, FITTED - sum(len(each.phones) for each in filmed)
    for number in np.random.default_rng(seed).permutation(len(others)):
        left -= len(others[number].phones)
        if left < 0:
            break
        chosen.append(others[number])
    return chosen


def read_clips(path: Path, detector_folder: Path | None) -> list[Measured]:
    """The clips of a list with their phones and, where a face is seen, openings."""
    rows = [line.partition("\t")[::2] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    detector = None if detector_folder is None else load_yunet(detector_folder, "cpu")
    clips = []
    for name, words in rows:
        file = path.parent / name
        waveform = read_audio(file)
        positions = len(waveform) // SAMPLES_PER_POSITION
        phones = labels_of(align_words(waveform, words, name), positions) if words.strip() else None
        opening = times = None
        if detector is not None and file.suffix.lower() not in (".wav", ".flac"):
            video = VideoFile(file)
            with closing(video.frames()) as frames:
                seen = itertools.takewhile(lambda frame: frame.time < SECONDS, frames)
                faces = [(t.frame.time, t.face) for t in FaceSelector().select(track_faces(seen, detector))]
            found = [np.nan if face is None else mouth_opening(face.landmarks[None])[0] for _, face in faces]
            opening = fill_gaps(found)
            times = np.array([float(time) for time, _ in faces]) - float(audio_delay(file))
        clips.append(Measured(Path(name).name, waveform, phones, opening, times))
    return clips


def measure(encoder: AudioEncoder, reading: Reading, clip: Measured) -> dict[str, float | None]:
    """Shares of positions whose phone is named right, of all and of those with speech; the correlation, and the frames
    that the audio was taken later for it."""
    features = features_of(encoder, clip.waveform)
    result: dict[str, float | None] = dict.fromkeys(FIGURES)
    if clip.phones is not None:
        count = min(len(features), len(clip.phones))
        named, true = (_alike(each[:count]) for each in (reading.phones(features), clip.phones))
        known = true != NOTHING
        result["phones"] = float((named == true)[known].mean())
        result["phones_in_speech"] = float((named == true)[known & (true != SILENCE)].mean())
    if clip.opening is not None and clip.times is not None:
        read, at = reading.opening(features), np.arange(len(features)) / FEATURE_RATE
        moved = {late: np.interp(clip.times + late * FRAME, at, read) for late in OFFSETS}
        found = {late: float(np.corrcoef(each, clip.opening)[0, 1]) for late, each in moved.items()}
        result["opening_offset"] = max(found, key=found.__getitem__)
        result["opening"] = found[result["opening_offset"]]
    return result


def _alike(phones: np.ndarray) -> np.ndarray:
    return np.array([ALIKE.get(int(each), int(each)) for each in phones])


def main() -> None:
    """Print a table with a column for each encoder, and JSON if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+", type=Path, metavar="ENCODER.pt")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--sentences", type=int, default=0, help="of every installed synthetic voice")
    parser.add_argument("--seed", type=int, default=5_000_000, help="of those, as data.seed of the training")
    parser.add_argument("--detector", type=Path, help="folder of YuNet and the face mesh")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    try:
        clips = read_clips(given.clips, given.detector)
        sources = SpeechSources(given.people, given.recordings, given.sentences, given.seed)
        faces = given.detector or Path("checkpoints/auxiliary")
        speech = gather_speech(sources, cache_folder() / "speech", lambda: load_yunet(faces, "cpu"))
        results = {}
        for path in given.encoders:
            encoder = AudioEncoder.from_file(path)
            reading = fit(encoder, some_of(speech.train, 0))
            results[str(path)] = {clip.name: measure(encoder, reading, clip) for clip in clips}
    except LatentSyncError as error:
        raise SystemExit(f"{error.message}\n  -> {error.remedy}") from error
    for figure in FIGURES:
        lines = [[figure, *results]]
        for name in [clip.name for clip in clips]:
            lines.append([name, *(_cell(result[name][figure]) for result in results.values())])
        means = [[r[figure] for r in result.values() if r[figure] is not None] for result in results.values()]
        lines.append(["mean", *(_cell(float(np.mean(values)) if values else None) for values in means)])
        head, *rows = lines
        print(*(row_of(row) for row in (head, ["---"] * len(head), *rows)), sep="\n", end="\n\n")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
