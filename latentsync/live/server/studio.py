"""What the sessions of a server share: the networks, the prepared people, and how many may speak at once."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import BusyError, ConfigError
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.timeline import frame_spacing
from latentsync.live.audio_input import Resampler
from latentsync.live.person import SUFFIX, Person, load_person
from latentsync.live.session import LiveSession, SessionSettings
from latentsync.live.stream import LipsyncStream, OnBacklog
from latentsync.types import Frame

MOST_BEHIND = Fraction(1, 2)  # s of audio that may wait before the mouth keeps its shape
JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class StudioLimits:
    """``sessions`` at once; seconds that one may be ``idle`` (no message), and may last; ``key``: what has to be said
    to begin one, empty: nothing. Raises ``ConfigError``."""

    sessions: int = 1
    idle_seconds: float = 30.0
    longest_seconds: float = 3600.0
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.sessions < 1:
            raise ConfigError(f"{self.sessions} sessions at once are none.", remedy="Give --sessions 1 or more.")


class Studio:
    """``people`` by name; each session has a stream of its own over the networks of ``pipeline``."""

    def __init__(
        self, pipeline: LipsyncPipeline, people: Mapping[str, Person], options: SyncOptions, limits: StudioLimits
    ) -> None:
        self.people = dict(people)
        self.limits = limits
        self._pipeline, self._options = pipeline, options
        self._stills = {name: next(iter(person.video.frames(0, 1))) for name, person in people.items()}
        self._free = threading.Semaphore(limits.sessions)
        for person in people.values():
            person.give_latents(pipeline)

    def still(self, name: str) -> Frame:
        """The first frame of a person. Raises ``ConfigError`` for a name that there is not."""
        if name not in self._stills:
            raise ConfigError(f"There is no person '{name[:40]}'.", remedy=f"There are: {', '.join(self._stills)}.")
        return self._stills[name]

    def check_key(self, key: str) -> None:
        """Raises ``ConfigError`` for a wrong one."""
        if self.limits.key and not secrets.compare_digest(key.encode(), self.limits.key.encode()):
            raise ConfigError("The key is wrong.", remedy="Ask whoever runs this server for it.")

    @contextmanager
    def session(self, name: str, rate: int) -> Iterator[LiveSession]:
        """A session while the block runs. Raises ``ConfigError``, ``AudioError`` for another rate, ``BusyError``."""
        still = self.still(name)
        Resampler(rate)
        if not self._free.acquire(blocking=False):
            raise BusyError("As many people as this server has room for speak already.", remedy="Try again later.")
        try:
            stream = LipsyncStream(
                self._pipeline,
                self.people[name],
                self._options,
                on_backlog=OnBacklog.FREEZE,
                most_waiting=MOST_BEHIND,
            )
            try:
                spacing = frame_spacing(self.people[name].video.info)
                yield LiveSession(stream, still, spacing, SessionSettings(rate))
            finally:
                stream.close()
        finally:
            self._free.release()


def people_in(folder: Path) -> dict[str, Person]:
    """The prepared people in a folder, or the one that the folder is, by name. Raises ``ConfigError``."""
    paths = [folder] if folder.suffix == SUFFIX else sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise ConfigError(
            f"{folder} has no prepared people.", remedy="Make one with `latentsync live prepare VIDEO NAME.lsp`."
        )
    return {path.stem: load_person(path) for path in paths}


def as_jpeg(frame: Frame) -> bytes:
    """A frame for a browser."""
    pixels = np.ascontiguousarray(frame.pixels[..., ::-1])
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
