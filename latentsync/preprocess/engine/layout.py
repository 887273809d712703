"""Where everything lies: the steps' directories, and the manifest beside them.

<output_dir>/resampled/ shot/ segmented/ ...      what each step let through, in the sub-folders of the input
<output_dir>/manifest/files/                      one JSON file for each input file: what it is, or why it is none
<output_dir>/manifest/clips/                      one journal for each recording: a line for every clip and step
<output_dir>/manifest/faces/                      faces found, for the alignment
<output_dir>/manifest/scratch/                    work in progress
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from latentsync.errors import ConfigError
from latentsync.preprocess.clip_record import ClipRecord

SETTINGS_FILE = "settings.yaml"  # in the manifest folder: of the last run
_LONGEST_STEM = 150  # bytes of a recording's name that its clips keep; file systems allow 255 in all


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one run; both absolute."""

    input_dir: Path
    output_dir: Path

    @classmethod
    def of(cls, input_dir: str | Path, output_dir: str | Path | None) -> Layout:
        """``output_dir`` None: the folder that ``input_dir`` lies in. Raises ``ConfigError`` if the results would lie
        in the input."""
        source = Path(input_dir).resolve()
        target = source.parent if output_dir is None else Path(output_dir).resolve()
        if target.is_relative_to(source):
            raise ConfigError(
                f"The results would be written into the input: {target} lies in {source}.",
                remedy="Set output_dir to another folder.",
            )
        return cls(source, target)

    @property
    def manifest(self) -> Path:
        """What is known of files and clips."""
        return self.output_dir / "manifest"

    @property
    def scratch(self) -> Path:
        """Work in progress, a folder for each piece of it."""
        return self.manifest / "scratch"

    def file(self, step: str, clip: ClipRecord) -> Path:
        """The file of a clip that ``step`` let through."""
        return self.output_dir / step / clip.name

    def file_record(self, name: str) -> Path:
        """What is known of the input file ``name``."""
        key = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return self.manifest / "files" / key[:2] / f"{key}.json"

    def journal(self, source: str) -> Path:
        """The rows of all clips of a recording."""
        return self.manifest / "clips" / source[:2] / f"{source}.jsonl"

    def faces(self, clip: ClipRecord) -> Path:
        """The faces found in a clip."""
        return self.manifest / "faces" / clip.source[:2] / clip.source / f"{clip.start}_{clip.frames}.npz"


def input_files(folder: Path) -> Iterator[str]:
    """Names of all files below ``folder``, relative to it, folder by folder in a fixed order; of a folder that may not
    be listed, and of a link to a folder, which is not followed, its own name."""
    pending = [""]  # folders, each with a slash at its end; any depth
    while pending:
        prefix = pending.pop()
        try:
            entries = sorted(os.scandir(folder / prefix), key=lambda entry: entry.name)
        except OSError:
            if not prefix:
                raise
            yield prefix.removesuffix("/")
            continue
        folders = [entry.is_dir(follow_symlinks=False) for entry in entries]
        paths = [prefix + entry.name for entry in entries]
        yield from (path for path, is_folder in zip(paths, folders, strict=True) if not is_folder)
        pending += [f"{path}/" for path, is_folder in zip(paths, folders, strict=True) if is_folder][::-1]


def as_text(name: str) -> str:
    """``name`` with a mark for bytes that are no text: those of a file's name need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def recording_name(file: str, source: str) -> str:
    """The name of a recording's clips, without the numbers of shot and segment: sub-folder, stem, and eight digits of
    the content hash, so that ``a.mp4`` and ``a.mov`` do not meet. It is text, whatever bytes the file's name has."""
    path = PurePosixPath(file)
    stem = path.stem.encode("utf-8", "surrogateescape")[:_LONGEST_STEM].decode("utf-8", "ignore")
    return str(PurePosixPath(as_text(str(path.parent))) / f"{stem}-{source[:8]}.mp4")
