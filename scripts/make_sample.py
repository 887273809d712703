"""Make the sample of this repository: a video of a synthetic talker, its faces, and what somebody else says.

python -m scripts.make_sample assets
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from latentsync.data.talkers.clip import TalkerClip, make_talker
from latentsync.data.talkers.files import write_talker, write_wav
from latentsync.errors import run_command
from latentsync.face.detections_file import write_detections
from latentsync.face.detector import Detection

SEED = 11  # as for scripts.make_talkers: clip 0 gives the video, clip 1 the audio
SECONDS = 10.0
SIDE = 512  # pixels
CRF = 20


def make_sample(folder: Path) -> None:
    """Write sample_video.mp4, sample_faces.npz and sample_audio.wav into ``folder``."""
    with TemporaryDirectory(prefix="sample_") as scratch:
        talker = write_talker(Path(scratch), 0, SEED, "plain", SECONDS, (SIDE, SIDE), Fraction(25), CRF)
        written = next(Path(scratch).glob("*.mp4"))
        (folder / "sample_video.mp4").write_bytes(written.read_bytes())
    seeds = np.random.SeedSequence([SEED, 1]).generate_state(3)
    write_wav(folder / "sample_audio.wav", make_talker(*map(int, seeds), seconds=SECONDS).waveform)
    write_detections(folder / "sample_faces.npz", true_faces(talker))


def true_faces(clip: TalkerClip) -> dict[int, list[Detection]]:
    """The speaker's face in each frame, as a detector without error would give it."""
    found: dict[int, list[Detection]] = {}
    for number, (landmarks, visible) in enumerate(zip(clip.landmarks, clip.visible, strict=True)):
        box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
        found[number] = [Detection(box, landmarks, 1.0)] if visible else []
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the three files go")
    arguments = parser.parse_args()
    return run_command(lambda: make_sample(arguments.folder))


if __name__ == "__main__":
    sys.exit(main())
