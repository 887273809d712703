"""Steps 1 to 6 of the data pipeline against the same steps done plainly: one file after another, every step decoding
and encoding for itself, the detector looking at every frame, in step 5 and again in step 6.

Both ways use the same decoder, encoder, detector (loaded before) and alignment in one thread, and CPU seconds are
counted, so other work on the machine matters little. Also says how far apart the aligned frames of the two ways are.
One line of JSON:

    python -m benchmarks.preprocess_speed --input VIDEOS --weights checkpoints/auxiliary --min_side 120
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from latentsync.constants import MODEL_FPS
from latentsync.face.align import FaceAligner
from latentsync.face.detector import FaceDetector
from latentsync.face.selection import FaceSelector
from latentsync.face.tracking import TrackingSettings, track_faces
from latentsync.media.rate import at_rate
from latentsync.media.threads import single_threaded
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.preprocess.engine.runner import preprocess
from latentsync.preprocess.settings import EngineSettings, FaceSettings, PreprocessSettings
from latentsync.preprocess.steps.networks import LoadedNetworks
from latentsync.preprocess.steps.step2_resampled import resampled_info
from latentsync.preprocess.steps.step3_4_cut import mark_shots
from latentsync.preprocess.steps.step5_high_resolution import (
    FaceCount,
    detect_faces,
    detection_frames,
    track_one_shot,
)
from latentsync.preprocess.steps.step6_affine_transformed import aligned_frames, square_info
from latentsync.types import ArrayFrame

FIRST = EncodingOptions("h264", 14, "veryfast", repeatable=True)
LAST = EncodingOptions("h264", 13, "fast", repeatable=True)


def plainly(path: Path, settings: PreprocessSettings, detector: FaceDetector, folder: Path) -> int:
    """Frames of aligned clips made of one video."""
    whole = folder / "resampled.mp4"
    video = VideoFile(path)
    info = resampled_info(video.info, round(video.info.duration * MODEL_FPS))
    write_video(whole, at_rate(video.frames(), info.n_frames), info, FIRST, path)
    cuts = [frame.index for frame, is_cut in mark_shots(VideoFile(whole).frames(), settings.shots) if is_cut]
    shots = [_encode_part(whole, *span, folder) for span in _spans([0, *cuts, info.n_frames])]
    segments = [part for shot in shots for part in _segments(shot, settings, folder)]
    return sum(_align(segment, settings, detector, folder) for segment in segments)


def _spans(borders: list[int]) -> list[tuple[int, int]]:
    return list(zip(borders[:-1], borders[1:], strict=True))


def _encode_part(source: Path, start: int, stop: int, folder: Path) -> Path:
    video = VideoFile(source)
    target = folder / f"{source.stem}_{start}.mp4"
    frames = (ArrayFrame(f.index - start, f.time - start / MODEL_FPS, f.pixels) for f in video.frames(start, stop))
    write_video(target, frames, video.info, FIRST, source)
    return target


def _segments(shot: Path, settings: PreprocessSettings, folder: Path) -> Iterator[Path]:
    n_frames, length = VideoFile(shot).info.n_frames, settings.segment_frames
    starts = [length * number for number in range(n_frames // length)]
    for span in _spans([*starts, n_frames]) if starts else ():
        yield _encode_part(shot, *span, folder)


def _align(segment: Path, settings: PreprocessSettings, detector: FaceDetector, folder: Path) -> int:
    video = VideoFile(segment)
    count = FaceCount(settings.faces.min_side)
    for frame in video.frames():
        count.add(frame.index, detector.detect([ArrayFrame.of(frame.pixels)])[0])
    count.finish()
    if count.reason:
        return 0
    tracked = track_faces(video.frames(), detector, TrackingSettings(batch=1))
    side = settings.alignment.resolution
    info = square_info(video.info, side, video.info.n_frames)
    target = folder / f"{segment.stem}_aligned.mp4"
    write_video(target, aligned_frames(FaceSelector().select(tracked), side), info, LAST, segment)
    return video.info.n_frames


def alignment_difference(segments: Iterable[Path], settings: PreprocessSettings, detector: FaceDetector) -> float:
    """Mean distance in pixels of the aligned frame between the corners when every frame is looked at and when every
    ``stride``-th one is."""
    side, distances = settings.alignment.resolution, []
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]], dtype=np.float64)
    for path in segments:
        matrices = []
        for stride in (1, settings.faces.stride):
            video = VideoFile(path)
            n_frames = video.info.n_frames
            looked_at = video.frames(only=detection_frames(n_frames, stride))
            found = detect_faces(looked_at, n_frames, detector, FaceCount(0))
            aligner = FaceAligner(side)
            faces = FaceSelector().select(track_one_shot(video.frames(), found, detector, stride))
            matrices.append([np.vstack([aligner.matrix(each.face.landmarks), [0, 0, 1]]) for each in faces])
        for one, other in zip(*matrices, strict=True):
            moved = corners @ (other @ np.linalg.inv(one)).T
            distances.append(np.linalg.norm(moved - corners, axis=1).mean())
    return float(np.mean(distances))


def measure(source: Path, weights: Path, min_side: int) -> dict:
    """CPU seconds of both ways, and what they made."""
    settings = PreprocessSettings(
        input_dir=str(source),
        weights_dir=str(weights),
        device="cpu",
        last_step="affine_transformed",
        faces=FaceSettings(min_side=min_side),
        engine=EngineSettings(workers=0),
    )
    networks = LoadedNetworks(settings, "cpu")
    detector = networks.detector
    videos = sorted(path for path in source.iterdir() if path.suffix == ".mp4")
    with tempfile.TemporaryDirectory() as scratch, single_threaded():
        started, frames = time.process_time(), 0
        for number, path in enumerate(videos):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            frames += plainly(path, settings, detector, folder)
        plain = time.process_time() - started
        started = time.process_time()
        output = Path(scratch) / "output"
        changed = PreprocessSettings(**{**vars(settings), "output_dir": str(output)})
        accounts = preprocess(changed, lambda _, device: networks)
        ours = time.process_time() - started
        apart = alignment_difference(sorted((output / "segmented").rglob("*.mp4")), settings, detector)
    return {
        "videos": len(videos),
        "frames_plainly": frames,
        "frames": round(accounts[-1].kept_seconds * float(MODEL_FPS)),
        "cpu_seconds_plainly": round(plain, 2),
        "cpu_seconds": round(ours, 2),
        "times_faster": round(plain / ours, 2),
        "alignment_difference_px": round(apart, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="a folder of videos (.mp4)")
    parser.add_argument("--weights", type=Path, default=Path("checkpoints/auxiliary"))
    parser.add_argument("--min_side", type=int, default=256)
    options = parser.parse_args()
    print(json.dumps(measure(options.input, options.weights, options.min_side)))


if __name__ == "__main__":
    main()
