"""A scene, who speaks when: check it, show it, and write it as a scene file.

    latentsync scene scene.yaml                                      what is in it, and whether it makes sense
    latentsync scene talk.rttm --video_path talk.mp4 --audio_path dub.wav --people A=index:0 B=index:1 --save scene.yaml
    latentsync dub --scene scene.yaml --video_out_path out.mp4       dub it (docs/scenes.md)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import ConfigError, LatentSyncError, OutputError
from latentsync.terminal import command_parser, for_terminal, report

if TYPE_CHECKING:
    from latentsync.scene.model import Scene

PEOPLE_HELP = "who the people of the scene are, as --face says it: anna=index:0 ben=640,300@2.5"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("scene", __doc__)
    parser.add_argument("scene", type=Path, help="scene file (.yaml, .json), or .json, .csv, .rttm, .srt, .vtt, .otio")
    parser.add_argument("--video_path", type=Path, help="the video that it is of (what the scene says)")
    parser.add_argument("--audio_path", type=Path, help="audio of the whole scene (what the scene says)")
    parser.add_argument("--people", nargs="+", action="extend", type=person, metavar="NAME=FACE", help=PEOPLE_HELP)
    parser.add_argument("--save", type=Path, metavar="FILE", help="write it as a scene file, .yaml or .json")
    return parser.parse_args(arguments)


def person(text: str) -> tuple[str, str]:
    """A name and a face."""
    name, sign, face = text.partition("=")
    if not sign or not name.strip() or not face.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FACE, such as anna=index:0")
    return name.strip(), face.strip()


def read_scene_file(
    path: Path, video: Path | None, audio: Path | None, people: Sequence[tuple[str, str]]
) -> Scene:
    """The scene in a file of any known format, of the ``video`` and with the ``audio`` and ``people`` where they are
    given. Raises ``ConfigError`` and, for a video that says how long a frame lasts, ``VideoError``."""
    from latentsync.scene.model import SegmentAudio
    from latentsync.scene.readers import read_any, with_faces

    scene = read_any(path, None if video is None else _rate(video))
    if audio is not None:
        scene = replace(scene, audio=SegmentAudio(audio))
    return replace(with_faces(scene, dict(people)) if people else scene, video=video or scene.video)


def describe(scene: Scene) -> str:
    """A line for each person and segment."""
    lines = [f"video    {scene.video or 'not said: give --video_path'}"]
    lines += [] if scene.audio is None else [f"audio    {scene.audio.file}"]
    lines += [f"person   {person.name}: {person.face or 'not said: give --people'}" for person in scene.speakers()]
    for segment in sorted(scene.segments, key=lambda each: each.start):
        end = "end" if segment.end is None else f"{float(segment.end):8.2f}"
        spoken = scene.audio_of(segment)
        what = "no audio" if spoken is None else f"{spoken.file} from {float(spoken.start):.2f} s"
        lines.append(f"segment {float(segment.start):8.2f} to {end} s  {segment.person}: {what}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 for a scene that makes sense, else that of the error."""
    options = parse_arguments(arguments)
    try:
        scene = read_scene_file(options.scene, options.video_path, options.audio_path, options.people or [])
        print(for_terminal(describe(scene)))
        if options.save is not None:
            _save(scene, options.save)
        _check(scene)
    except LatentSyncError as error:
        return report(error, "Error: ")
    return 0


def _check(scene: Scene) -> None:
    """Raise ``ConfigError`` for a scene that cannot be dubbed as it is."""
    from latentsync.scene.model import check_scene

    if scene.video is None:
        check_scene(scene)
        return
    from latentsync.media.probe import probe_video

    info = probe_video(scene.video)
    check_scene(scene, info.duration, Fraction(1) / info.fps)


def _save(scene: Scene, path: Path) -> None:
    from latentsync.scene.files import SUFFIXES, write_scene

    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path} is no name of a scene file.", remedy=f"Give one with {', '.join(SUFFIXES)}.")
    try:
        write_scene(scene, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.", remedy="Choose another place.") from error


def _rate(video: Path) -> Fraction:
    from latentsync.media.probe import probe_video

    return probe_video(video).fps
