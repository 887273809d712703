"""A page on a stage: two drawn people, networks that take as long as they are told to, a server on a free port."""

from __future__ import annotations

import itertools
import os
import threading
import time
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.face.detections_file import write_detections
from latentsync.face.detector import Detection
from latentsync.face.mask import load_mask
from latentsync.inference.job.networks import Networks
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.weights import WeightPaths
from latentsync.media.limits import MediaLimits
from latentsync.page.jobs import Example, JobQueue
from latentsync.page.server import ServerSettings, serving
from latentsync.page.storage import StorageLimits
from tests.inference.world import ClockAudio, Identity, face_landmarks
from tests.media.synthetic import tone, write_clip, write_wav

N = 60
FPS = 25
SIZE = (320, 200)
CENTRES = {"left": (80.0, 100.0), "right": (240.0, 100.0)}
COLORS = {"left": (200, 140, 110), "right": (110, 140, 200)}
STEPS = 10  # of the stub's network for a window
SECOND_CHECKPOINT = "another checkpoint"


class Painter(Identity):
    """Paints the mouth green, in ``STEPS`` steps of ``seconds`` each."""

    def __init__(self, on_step, seconds):
        super().__init__()
        self._on_step, self._seconds = on_step, seconds

    def __call__(self, windows):
        for _ in range(STEPS):
            time.sleep(self._seconds)
            self._on_step(len(windows))
        faces = super().__call__(windows).copy()
        rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
        faces += 0.05 * np.sin(rows * 9 + columns * 7).astype(np.float32)
        faces[:, :, 1, 140:220, 80:176] = 0.9
        return faces


class StageNetworks(Networks):
    """``loads`` counts what is loaded; ``seconds`` is how long a step of the network takes; it waits for ``go_on``."""

    loads: list[str] = []
    seconds = 0.0
    at_work = 0
    most_at_work = 0
    steps = 0
    go_on = threading.Event()
    go_on.set()

    def __init__(self):
        self._kept = None

    def pipeline(self, choice):
        if self._kept != choice.weights:
            self._kept = choice.weights
            StageNetworks.loads.append(choice.weights.unet.name)
        return LipsyncPipeline(
            lambda options, on_step, kept: Painter(lambda n: self._passed(on_step, n), StageNetworks.seconds),
            lambda waveform, options: ClockAudio(Fraction(len(waveform), 16_000)),
            load_mask("mask", 256),
        )

    def _passed(self, on_step, windows):
        StageNetworks.steps += 1
        StageNetworks.go_on.wait(600)
        on_step(windows)


def landmarks(name, number):
    return face_landmarks(np.array(CENTRES[name]) + (3 * np.sin(number / 6), 0), 90)


def draw(number):
    pixels = np.full((SIZE[1], SIZE[0], 3), 70, np.uint8)
    pixels[..., 2] += np.arange(SIZE[0], dtype=np.uint8) // 4
    for name, color in COLORS.items():
        points = landmarks(name, number)
        cv2.fillConvexPoly(pixels, cv2.convexHull(points.astype(np.int32)), color, cv2.LINE_AA)
        for part in (points[36:42], points[42:48], points[48:60]):
            cv2.fillPoly(pixels, [part.astype(np.int32)], (90, 40, 40), cv2.LINE_AA)
    return pixels


def make_example(folder: Path) -> Example:
    """Two people side by side for 2.4 s, a sound of 2 s, and where the faces are."""
    folder.mkdir(exist_ok=True)
    write_clip(folder / "two.mp4", (draw(number) for number in range(N)), fps=FPS, gop=5)
    write_wav(folder / "sound.wav", tone(2.0))
    found = {
        number: [
            Detection(np.concatenate([points.min(0), points.max(0)]), points, 0.9)
            for points in (landmarks(name, number) for name in CENTRES)
        ]
        for number in range(N)
    }
    write_detections(folder / "faces.npz", found)
    return Example("Two people", folder / "two.mp4", folder / "sound.wav", folder / "faces.npz")


def green_people(path: Path, number: int | None = None) -> set[str]:
    """Whose mouth is green in frame ``number`` of a result, None: the one in the middle."""
    from latentsync.media.video import VideoFile

    video = VideoFile(path)
    middle = video.info.n_frames // 2 if number is None else number
    (frame,) = video.frames(middle, middle + 1)
    found = set()
    for name, (x, y) in CENTRES.items():
        mouth = frame.pixels[int(y) + 18 : int(y) + 40, int(x) - 20 : int(x) + 20].astype(int)
        if (mouth[..., 1] - mouth[..., 0]).mean() > 20:
            found.add(name)
    return found


@contextmanager
def stage(example: Example, limits: MediaLimits | None = None, server: ServerSettings | None = None, **settings):
    """The address of a page over stub networks, and its jobs; ``settings`` are those of ``JobQueue``."""
    builtin = WeightPaths.builtin()
    weights = {
        "built-in models": builtin,
        SECOND_CHECKPOINT: WeightPaths.in_directory(builtin.unet.parent, builtin.unet),
    }
    weights[SECOND_CHECKPOINT] = WeightPaths(builtin.unet, builtin.codec, builtin.whisper, builtin.auxiliary / "other")
    StageNetworks.loads, StageNetworks.seconds, StageNetworks.steps = [], 0.0, 0
    jobs = JobQueue(weights, limits or MediaLimits(), [example], StageNetworks, **settings)
    with serving(jobs, server or ServerSettings(storage=StorageLimits(reserve=0))) as address:
        yield address, jobs


def below(folder) -> list[Path]:
    """All files and folders in ``folder``, of which some may go meanwhile, where ``rglob`` would fail."""
    return [Path(parent, name) for parent, *names in os.walk(folder) for name in itertools.chain(*names)]


def wait_until(condition, seconds=300.0):
    """Wait for a condition that another thread brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        threading.Event().wait(0.05)
