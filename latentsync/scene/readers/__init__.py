"""Scenes that other programs wrote, as the same values: one module for each format, chosen by suffix and content.

| file | what it is |
|---|---|
| `.yaml`, `.yml`, `.json` with `segments` | a scene of this program |
| `.json` with `input` and `segments` | a generation request of sync.so |
| `.json` with `frames`; `.csv` | boxes of speakers, frame by frame, as NVIDIA's LipSync NIM takes them |
| `.rttm` | turns that a diarizer found |
| `.srt`, `.vtt` | subtitles with the names of the speakers |
| `.otio` | an edit in OpenTimelineIO, a track of audio for each person |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from latentsync.errors import ConfigError
from latentsync.scene.document import Document
from latentsync.scene.files import SUFFIXES, scene_of
from latentsync.scene.model import PersonChoice, Scene
from latentsync.scene.readers.nim import read_nim_csv, read_nim_json
from latentsync.scene.readers.rttm import read_rttm
from latentsync.scene.readers.subtitles import read_subtitles
from latentsync.scene.readers.syncso import read_syncso
from latentsync.scene.readers.timeline import read_timeline

ALL_SUFFIXES = (*SUFFIXES, ".csv", ".rttm", ".srt", ".vtt", ".otio")


def read_any(path: Path, fps: Fraction | None = None) -> Scene:
    """The scene in a file of any of the formats. ``fps``: frames per second of the video, for formats that count them.

    Raises ``ConfigError`` with the line of a fault, and ``PackageMissingError`` for an edit without OpenTimelineIO.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return read_nim_csv(path, fps)
    if suffix == ".rttm":
        return read_rttm(path)
    if suffix in (".srt", ".vtt"):
        return read_subtitles(path)
    if suffix == ".otio":
        return read_timeline(path)
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"{path} is no file of a scene that is known here.", remedy=f"Give one with {', '.join(ALL_SUFFIXES)}."
        )
    document = Document(path, "The scene")
    keys = document.top.mapping().keys() if document.top.is_mapping else ()
    if "frames" in keys:
        return read_nim_json(document, fps)
    return read_syncso(document, fps) if "input" in keys else scene_of(document)


def with_faces(scene: Scene, faces: Mapping[str, str]) -> Scene:
    """The scene with the ``faces`` (name -> choice) of some of its people. Raises ``ConfigError`` for a name that the
    scene does not have."""
    names = [person.name for person in scene.speakers()]
    unknown = next((name for name in faces if name not in names), None)
    if unknown is not None:
        raise ConfigError(
            f"Nobody in the scene is called '{unknown}'.", remedy=f"Its people are {', '.join(names)}."
        )
    people = tuple(PersonChoice(each.name, faces.get(each.name, each.face)) for each in scene.speakers())
    return replace(scene, people=people)
