"""How often is the right one of several faces found to speak?

    python -m benchmarks.active_speaker --scenes 4 --faces 2 3
    python -m benchmarks.active_speaker --scenes 4 --faces 2 --people DIR --mesh DIR

A scene is several people side by side, each of whom says something else the whole time; one of them is heard, and from
the middle on another one (not with ``--no_turn``). Drawn talkers, whose faces are known; or, with ``--people``, the
video files of a folder, whose faces are found by YuNet and the face mesh (``--mesh``: the folder with their files).
Counted is every verdict at a moment in which the audio speaks: right, wrong, and unsure, which is not right either.
``around_turns``: the share that is right of those within 0.6 s of the turn; ``mouths_alone``: right without the sync
network.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import publish
from latentsync.audio.voice_activity import SAMPLES_PER_FRAME
from latentsync.data.talkers.clip import make_talker
from latentsync.evaluation.recordings import SUFFIXES
from latentsync.face.align import FaceAligner
from latentsync.face.backends import yunet
from latentsync.face.tracks import FaceTracks
from latentsync.levels import to_image
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.metrics.active_speaker import FaceTrack, Speaking, who_speaks
from latentsync.metrics.mouth import mouth_opening
from latentsync.metrics.stable_sync import StableSync, load_stable_sync
from latentsync.places import BUILTIN_SYNCNET
from latentsync.types import ArrayFrame

FIRST_SEED = 90_000_000  # far from the seeds of other clips
SIDE = 256  # of the drawn frames and of the aligned faces
NEAR_TURN = 15  # frames


@dataclass(frozen=True, slots=True)
class Person:
    """A face with the audio (n,) float32 at 16 kHz that it speaks."""

    track: FaceTrack
    waveform: np.ndarray


def drawn_person(number: int, seconds: float) -> Person:
    """Talker ``number`` of an endless row."""
    seed = FIRST_SEED + number
    clip, aligner = make_talker(seed, seed, seed, seconds=seconds, size=SIDE), FaceAligner(SIDE)
    frames = (ArrayFrame.of(pixels) for pixels in clip.frames())
    faces = [
        to_image(aligner.align(frame, points).pixels) for frame, points in zip(frames, clip.landmarks, strict=True)
    ]
    present = np.ones(len(faces), bool)
    return Person(FaceTrack(np.stack(faces), present, mouth_opening(clip.landmarks)), clip.waveform)


def filmed_person(path: Path, mesh: Path, seconds: float) -> Person:
    """The largest face of a video at 25 frames/s, with its own audio."""
    video, aligner = VideoFile(path), FaceAligner(SIDE)
    faces, opening = [], []
    with closing(FaceTracks(yunet.load(mesh, "cpu")).follow(video.frames(0, round(seconds * 25)))) as targets:
        for target in targets:
            face = target.face
            blank = np.zeros((SIDE, SIDE, 3), np.uint8)
            faces.append(blank if face is None else to_image(aligner.align(target.frame, face.landmarks).pixels))
            opening.append(np.nan if face is None else float(mouth_opening(face.landmarks[None])[0]))
    found = np.array(opening)
    return Person(FaceTrack(np.stack(faces), np.isfinite(found), found), read_audio(path))


def judged(people: Sequence[Person], first: int, second: int, sync: StableSync | None) -> Iterator[tuple[str, bool]]:
    """What each verdict is where somebody speaks, and whether it is near the turn from ``first`` to ``second``."""
    length = min(len(person.track.faces) for person in people)
    turn = length // 2
    tracks = [FaceTrack(t.faces[:length], t.present[:length], t.opening[:length]) for t in (p.track for p in people)]
    begin, end = (people[number].waveform for number in (first, second))
    heard = np.concatenate([begin[: turn * SAMPLES_PER_FRAME], end[turn * SAMPLES_PER_FRAME :]])
    for verdict in who_speaks(tracks, heard[: length * SAMPLES_PER_FRAME], sync):
        if verdict.is_speech:
            yield _outcome(verdict, first if verdict.frame < turn else second), abs(verdict.frame - turn) < NEAR_TURN


def _outcome(verdict: Speaking, truth: int) -> str:
    if verdict.face is None:
        return "unsure"
    return "right" if verdict.face == truth else "wrong"


def measure(scenes: Sequence[Sequence[Person]], sync: StableSync, *, turn: bool = True) -> dict[str, float]:
    """Shares of the verdicts of all scenes, and their number."""
    by_both: Counter[tuple[str, bool]] = Counter()
    by_mouths: Counter[str] = Counter()
    for number, people in enumerate(scenes):
        first = number % len(people)
        second = (first + 1) % len(people) if turn else first
        by_both.update(judged(people, first, second, sync))
        by_mouths.update(outcome for outcome, _ in judged(people, first, second, None))
    total, near = max(1, by_both.total()), max(1, sum(n for (_, is_near), n in by_both.items() if is_near))
    shares = {kind: (by_both[kind, False] + by_both[kind, True]) / total for kind in ("right", "wrong", "unsure")}
    alone = by_mouths["right"] / max(1, by_mouths.total())
    return {"verdicts": total, **shares, "around_turns": by_both["right", True] / near, "mouths_alone": alone}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4, help="for each number of faces (4)")
    parser.add_argument("--faces", type=int, nargs="+", default=[2, 3], help="in a scene (2 3)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a scene; no longer than the videos (6)")
    parser.add_argument("--no_turn", action="store_true", help="one person is heard the whole time")
    parser.add_argument("--people", type=Path, help="folder of videos of one speaker each, at 25 frames/s")
    parser.add_argument("--mesh", type=Path, help="folder with the files of the detector 'yunet', for --people")
    parser.add_argument("--syncnet", type=Path, default=BUILTIN_SYNCNET, help="sync network")
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    if options.people is not None and options.mesh is None:
        parser.error("--people needs --mesh")
    return options


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(1)
    sync, figures = load_stable_sync(options.syncnet), {}
    for faces in options.faces:
        needed = range(options.scenes * faces)
        if options.people is None:
            people = [drawn_person(number, options.seconds) for number in needed]
        else:
            videos = sorted(path for path in options.people.rglob("*") if path.suffix.lower() in SUFFIXES)
            people = [filmed_person(videos[k % len(videos)], options.mesh, options.seconds) for k in needed]
        scenes = [people[k * faces : (k + 1) * faces] for k in range(options.scenes)]
        figures[f"{faces} faces"] = measure(scenes, sync, turn=not options.no_turn)
    publish("active_speaker", {"figures": figures}, output=options.output)


if __name__ == "__main__":
    main()
