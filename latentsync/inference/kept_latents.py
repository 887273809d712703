"""Latents of finished windows on disk, so that a run that was killed need not compute them again.

The network works hundreds of times as long on the latents of a window as it takes to decode them, and they are a
fiftieth of the faces in size. So they are what is kept, without a loss: a run that reads them goes on to the bit as the
one that wrote them would have. Each window is a file of its own that is there whole or not at all; a checksum of the
content, the window and the job says whether it can be trusted.

C latent channels · F frames · h = w = R/8
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentsync.atomic import atomic_file
from latentsync.constants import LATENT_CHANNELS, LATENT_DOWNSCALE

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SUFFIX = ".latents"
JOURNAL = "job.json"
Journal = dict[str, Any]  # what the windows are of (``job.resume``)
_DIGEST = 32  # bytes
_HEADER = 200  # bytes, about
_NAME = "latents"


def windows_kept(folder: Path) -> int:
    """How many finished windows lie in a ``DubRequest.kept_folder``."""
    return len({path.name.partition(".")[0] for path in folder.glob(f"*{SUFFIX}")})


def read_journal(folder: Path) -> Journal | None:
    """The journal; None if there is none, and empty if it cannot be used."""
    try:
        found = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {} if windows_kept(folder) else None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class KeptLatents:
    """The windows of one job in ``folder``; ``job`` says which job it is. Several threads may use it at once.

    ``resumed`` counts the windows that were read. ``damaged`` are the numbers of those that could not be trusted, and
    ``failure`` is why windows are neither kept nor read any more, empty if they are.
    """

    def __init__(self, folder: Path, job: str, failure: str = "") -> None:
        self.folder = folder
        self.resumed = 0
        self.damaged: set[int] = set()
        self.failure = failure
        self._job = job
        self._lock = threading.Lock()

    def read(self, numbers: Iterable[int], dtype: torch.dtype) -> Tensor | None:
        """(n, C, F, h, w) of the windows that the network gave in ``dtype``; None if one of them is not there.

        All or none: how many windows are computed together may decide about their last bits.
        """
        if self.failure:
            return None
        import torch  # here: it takes seconds, and whoever counts the windows needs none of it

        found = []
        for number in numbers:
            latents = self._read(number, dtype)
            if latents is None:
                return None
            found.append(latents)
        with self._lock:
            self.resumed += len(found)
        return torch.stack(found)

    def write(self, numbers: Iterable[int], latents: Tensor) -> None:
        """Keep ``latents`` (n, C, F, h, w) of the windows. Where nothing can be written, the run goes on without."""
        from safetensors.torch import save  # here: it imports torch

        for number, each in zip(numbers, latents, strict=True):
            if self.failure:
                return
            path = self._path(number, each.dtype)
            content = save({_NAME: each.contiguous()})
            try:
                with atomic_file(path) as temporary:
                    temporary.write_bytes(self._digest(path, content) + content)
            except OSError as error:
                self.failure = f"{self.folder}: {error.strerror}"

    def notes(self) -> list[str]:
        """What became of the windows, for the user."""
        notes = []
        if self.resumed:
            notes.append(f"{self.resumed} windows are those of a run that was interrupted")
        if self.damaged:
            numbers = ", ".join(map(str, sorted(self.damaged)[:8])) + (", ..." if len(self.damaged) > 8 else "")
            notes.append(f"kept windows were damaged and were made again: {numbers}")
        if self.failure:
            notes.append(f"finished windows could not be kept: {self.failure}")
        return notes

    def _read(self, number: int, dtype: torch.dtype) -> Tensor | None:
        path = self._path(number, dtype)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            content = b""
        if content[:_DIGEST] == self._digest(path, content[_DIGEST:]):
            from safetensors.torch import load

            return load(content[_DIGEST:])[_NAME]
        with self._lock:
            self.damaged.add(number)
        return None

    def _path(self, number: int, dtype: torch.dtype) -> Path:
        return self.folder / f"{number:06d}.{str(dtype).removeprefix('torch.')}{SUFFIX}"

    def _digest(self, path: Path, content: bytes) -> bytes:
        return blake2b(f"{self._job} {path.name} ".encode() + content, digest_size=_DIGEST).digest()


def bytes_per_window(frames: int, resolution: int, dtype: torch.dtype) -> int:
    """Size of the file of a window of ``frames`` frames with faces of ``resolution`` pixels a side."""
    side = resolution // LATENT_DOWNSCALE
    return prod((LATENT_CHANNELS, frames, side, side)) * dtype.itemsize + _DIGEST + _HEADER
