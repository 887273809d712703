"""Where somebody speaks in audio, and which stretches of it are silent.

Two ways to tell. The network of the package silero-vad tells a voice from music, noise and breath; its weights are in
the package (MIT, 2.3 MB) and it runs on the CPU, about 70 times as fast as the audio plays. Where the package is absent
the level decides: whatever lies within 35 dB of the loud parts counts as speech, music and steady noise among it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata

import cv2
import numpy as np

from latentsync.constants import AUDIO_RATE, MODEL_FPS, exact_div

SAMPLES_PER_FRAME = exact_div(AUDIO_RATE, int(MODEL_FPS))
FLOOR_DB = -35.0  # below the loud parts of the audio, under which nothing is said
SETTLING = 4  # frames (0.16 s) around everything loud in which the mouth opens or comes to rest
BY_LEVEL = "level"  # what decided where there is no network

_STRETCH = AUDIO_RATE // 50  # samples, 20 ms
_FAINTEST = round(32768 * 10 ** (-60 / 20))  # 16-bit peak of -60 dBFS
_PACKAGE = "silero-vad"
_CHUNK = 512  # samples that its network looks at together
_SURE, _DOUBTFUL = 0.5, 0.35  # probability at which speech begins, and below which it is over

Spans = tuple[tuple[Fraction, Fraction], ...]
Probabilities = Callable[[np.ndarray], np.ndarray]  # (n,) float32 at 16 kHz -> (ceil(n / 512),) in [0, 1]


@dataclass(frozen=True, slots=True)
class VoiceActivity:
    """``speech``: when somebody speaks, in order, seconds from the start of the audio. ``judge``: what decided, a
    package with its version or ``BY_LEVEL``; ``note`` says why it was not the network, or is empty."""

    speech: Spans
    judge: str
    note: str = ""

    def pauses(self, seconds: Fraction) -> Spans:
        """The spans of audio of this length in which nobody speaks."""
        edges = [Fraction(0), *(edge for span in self.speech for edge in span), seconds]
        return tuple((start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop > start)


def find_speech(waveform: np.ndarray) -> VoiceActivity:
    """When somebody speaks in ``waveform`` (n,) float32 in [-1, 1] at 16 kHz."""
    try:
        network, judge = _silero()
    except (ImportError, OSError, RuntimeError) as error:
        absent = isinstance(error, ModuleNotFoundError)
        why = f"the package {_PACKAGE} is not installed" if absent else f"{_PACKAGE} cannot be loaded ({error})"
        return VoiceActivity(_spans_by_level(waveform), BY_LEVEL, f"pauses were found by the level alone: {why}")
    return VoiceActivity(_spans_by_probability(network(waveform)), judge)


def speaking_frames(waveform: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames,) bool at 25 frames/s: False where the mouth should rest, by the level.

    ``waveform`` (n,) in [-1, 1] at 16 kHz from the first frame on; beyond its end there is silence. A frame is loud
    when its level (RMS) lies within 35 dB of the 95th percentile of all; music and steady noise count as speech.
    """
    near = cv2.dilate(_loud(waveform, n_frames)[None], np.ones((1, 2 * SETTLING + 1), np.uint8))
    return near[0].astype(bool)


def is_audible(samples: np.ndarray) -> np.ndarray:
    """(n,) bool for stretches of 20 ms of 16-bit samples at 16 kHz: whether a peak reaches -60 dBFS."""
    samples = np.pad(samples, (0, -len(samples) % _STRETCH))
    return np.abs(samples.astype(np.int32)).reshape(-1, _STRETCH).max(axis=1) >= _FAINTEST


def _loud(waveform: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames,) uint8: 1 where a frame of 40 ms is loud."""
    samples = np.zeros(n_frames * SAMPLES_PER_FRAME)
    given = waveform[: len(samples)]
    samples[: len(given)] = given
    level = np.sqrt((samples.reshape(n_frames, -1) ** 2).mean(axis=1))
    return (level > np.quantile(level, 0.95) * 10 ** (FLOOR_DB / 20)).astype(np.uint8)


def _spans_by_level(waveform: np.ndarray) -> Spans:
    loud = _loud(waveform, -(-len(waveform) // SAMPLES_PER_FRAME))
    return _spans_of(loud.astype(bool), SAMPLES_PER_FRAME)


def _spans_by_probability(probabilities: np.ndarray) -> Spans:
    """Speech begins where its probability is high, and lasts until it is low."""
    speaks, state = np.zeros(len(probabilities), bool), False
    for number, probability in enumerate(probabilities):
        state = bool(probability >= (_DOUBTFUL if state else _SURE))
        speaks[number] = state
    return _spans_of(speaks, _CHUNK)


def _spans_of(marked: np.ndarray, samples: int) -> Spans:
    """The runs of True in (n,), each of which stands for ``samples`` of audio."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    times = [Fraction(edge * samples, AUDIO_RATE) for edge in edges.tolist()]
    return tuple(zip(times[::2], times[1::2], strict=True))


def _silero() -> tuple[Probabilities, str]:
    """The network of the package and its name. Raises ``ImportError``, ``OSError`` or ``RuntimeError``."""
    import torch

    with _threads_untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package: how it finds its file, and which of torch's formats that is
        from silero_vad import load_silero_vad

        network = load_silero_vad()

    def probabilities(waveform: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            samples = torch.from_numpy(np.ascontiguousarray(waveform, np.float32))[None]
            return network.audio_forward(samples, sr=AUDIO_RATE)[0].numpy()

    return probabilities, f"{_PACKAGE} {metadata.version(_PACKAGE)}"


@contextmanager
def _threads_untouched() -> Iterator[None]:
    """Importing the package sets the number of torch's threads to one for the whole process."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
