"""Does the mouth follow the new audio, and only that? Dubs of synthetic talkers, for which the true result is known.

    python -m benchmarks.cross_sync --mesh DIR --clips 8 --output out/cross_sync

Every clip is a person that no training has seen, dubbed by the whole pipeline with what another person says, and held
against the same person in the same scene saying that. Mouth openings are measured in the frames by the MediaPipe
face mesh (``--mesh``: a folder with its file and YuNet's; needed), in the true video as well as in the result. Rows:

- result      the dub
- truth       the true video itself: what the measurement can see at best
- codec       the true video through the latent codec and back: what the U-Net can reach at best (fidelity only)
- source      the unchanged video
- mean face   the average over time of the unchanged video (fidelity only)

Fidelity is that of the area which is generated, in aligned faces. Flicker is the change from frame to frame in that
area while nobody speaks, over the true video's; joins are the change where windows meet, over that inside
them (1: no pulse). Writes ``cross_sync.json``, ``cross_sync.md`` and ``cross_sync.png``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.cross_sync_rows import MouthTruth, Row, score_mouth, summarise, table
from benchmarks.dub_inputs import drawn_faces
from latentsync.audio.mel import syncnet_mel
from latentsync.checkpoint import load_codec, load_lpips
from latentsync.config import load_config
from latentsync.constants import MODEL_FPS, WINDOW_FRAMES
from latentsync.data.talkers.clip import TalkerClip
from latentsync.data.talkers.cross import CrossClip, make_cross_clip, speaking
from latentsync.face.align import FaceAligner, align_face
from latentsync.face.backends import yunet
from latentsync.face.detections_file import write_detections
from latentsync.face.detector import FaceDetector
from latentsync.face.mask import load_mask
from latentsync.face.similarity import transform
from latentsync.face.tracks import FaceTracks
from latentsync.inference.loading import load_pipeline
from latentsync.inference.options import DEFAULT_PRESET, PRESETS, SyncOptions, apply_preset
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.weights import WeightPaths, model_settings
from latentsync.inference.windows import WindowPlan
from latentsync.levels import normalize, to_image
from latentsync.media.contact_sheet import SheetRow, write_sheet
from latentsync.metrics.color_difference import lip_color, lip_color_difference
from latentsync.metrics.fidelity import psnr, ssim
from latentsync.metrics.mouth import fill_gaps, mouth_opening
from latentsync.metrics.seam import smudge
from latentsync.metrics.sharpness import laplacian_variance
from latentsync.metrics.stable_sync import StableSync, SyncTrace, load_stable_sync
from latentsync.metrics.temporal import frame_changes, join_ratio, join_steps
from latentsync.models.codec import LatentCodec
from latentsync.models.syncnet import SyncNetConfig
from latentsync.places import BUILTIN
from latentsync.recipe import SyncNetRecipe
from latentsync.types import ArrayFrame, Frame, VideoInfo

FRAME_PER_CROP = 2  # side of the frames over that of the aligned face
SHEET_CLIPS, SHEET_TILES = 4, 10
SPARSE = 5  # frames from one to the next that the color of lips, smudges and sharpness are looked for in
FIGURES = (
    *("correlation", "leak", "silence", "lag", "psnr", "ssim", "lpips", "lip_color", "sharpness", "smudge"),
    *("flicker", "joins"),
    *("sync_cosine", "sync_offset"),
)


class DrawnVideo:
    """A talker as a video source."""

    def __init__(self, clip: TalkerClip) -> None:
        n_frames = clip.n_frames
        self.info = VideoInfo(Path("talker"), clip.width, clip.height, clip.fps, n_frames, n_frames / clip.fps)
        self.pixels = clip.pixels()

    def frames(self, start: int = 0, stop: int | None = None, *, reverse: bool = False) -> Generator[Frame, None, None]:
        """See ``types.VideoSource``."""
        indices = range(self.info.n_frames)[start:stop]
        for index in reversed(indices) if reverse else indices:
            yield ArrayFrame(index, Fraction(index) / self.info.fps, self.pixels[index])


@dataclass(frozen=True)
class Measures:
    """What needs a network: ``lpips`` and ``sync`` are None without their weights."""

    mesh: FaceDetector
    codec: LatentCodec
    keep_mask: np.ndarray  # (1, R, R)
    plan: WindowPlan
    lpips: torch.nn.Module | None
    sync: StableSync | None

    def openings(self, frames: np.ndarray) -> np.ndarray:
        """(N,) measured in (N, H, W, 3); frames without a face are interpolated."""
        found = self.mesh.detect([ArrayFrame.of(pixels) for pixels in frames])
        return fill_gaps([mouth_opening(faces[0].landmarks[None])[0] if faces else np.nan for faces in found])

    def align(self, frames: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
        """(N, R, R, 3) uint8 aligned faces."""
        side = self.keep_mask.shape[-1]
        pairs = zip(frames, matrices, strict=True)
        return to_image(np.stack([align_face(frame, matrix, side).pixels for frame, matrix in pairs]))

    @torch.inference_mode()
    def through_codec(self, faces: np.ndarray) -> np.ndarray:
        """The faces encoded and decoded."""
        pixels = normalize(torch.from_numpy(faces).permute(0, 3, 1, 2))
        return to_image(self.codec.decode(self.codec.encode(pixels)).numpy())

    def fidelity(self, faces: np.ndarray, truth: np.ndarray) -> Row:
        """Of aligned faces, where they are generated."""
        hole = 1 - self.keep_mask[0]
        figures = {"psnr": psnr(faces, truth, hole), "ssim": ssim(faces, truth, hole)}
        if self.lpips is not None:
            figures["lpips"] = self._perceptual(faces, truth)
        return figures

    def flicker(self, faces: np.ndarray, truth: np.ndarray, still: np.ndarray) -> float:
        """Changes at the ``still`` (N - 1,) steps, over those of the true faces."""
        hole = self.keep_mask[0] < 0.5
        mine, true = (frame_changes(clip, hole)[still].mean() for clip in (faces, truth))
        return float(mine / true)

    def beside(self, faces: np.ndarray, truth: np.ndarray, landmarks: np.ndarray) -> Row:
        """Color of the lips, smudges and sharpness of the mouth against the true faces, whose ``landmarks`` (N, 68, 2)
        serve for both."""
        few = range(0, len(faces), SPARSE)
        colors = (np.stack([lip_color(each[k], landmarks[k]) for k in few]) for each in (faces, truth))
        smudges = [smudge(faces[k], truth[k], landmarks[k], landmarks[k], self.keep_mask[0]) for k in few]
        mouth = load_mask("mask3.png", faces.shape[1])[0] < 0.5
        sharp = [laplacian_variance(faces[k], mouth) / max(laplacian_variance(truth[k], mouth), 1e-6) for k in few]
        found = {"lip_color": lip_color_difference(*colors), "smudge": float(np.mean(smudges))}
        return found | {"sharpness": float(np.median(sharp))}

    def joins(self, faces: np.ndarray) -> float:
        """Change from frame to frame where windows are joined, over that inside them."""
        plan = self.plan
        steps = join_steps(len(faces), range(plan.step, len(faces), plan.step), plan.shared, plan.reach)
        return join_ratio(frame_changes(faces, self.keep_mask[0] < 0.5), steps)

    def sync_score(self, faces: np.ndarray, waveform: np.ndarray) -> Row:
        """By the StableSyncNet."""
        if self.sync is None:
            return {}
        trace = SyncTrace(self.sync, syncnet_mel(waveform))
        for face in faces:
            trace.add(face)
        fit = trace.finish()
        return {} if fit is None else {"sync_cosine": fit.cosine, "sync_offset": float(fit.offset.frames)}

    @torch.inference_mode()
    def _perceptual(self, faces: np.ndarray, truth: np.ndarray) -> float:
        half = faces.shape[1] // 2  # as in training, the lower half
        pairs = (normalize(torch.from_numpy(x[:, half:]).permute(0, 3, 1, 2)) for x in (faces, truth))
        parts = zip(*(x.split(16) for x in pairs), strict=True)
        return float(torch.cat([self.lpips(a, b).flatten() for a, b in parts]).mean())


def dub(clip: CrossClip, pipeline: LipsyncPipeline, options: SyncOptions) -> np.ndarray:
    """(N, H, W, 3) uint8, by the pipeline with the drawn landmarks as tracks."""
    with tempfile.TemporaryDirectory() as folder:
        write_detections(Path(folder) / "faces.npz", drawn_faces(clip.source))
        tracks = FaceTracks.from_file(Path(folder) / "faces.npz")
    frames = pipeline.sync(DrawnVideo(clip.source), clip.waveform, options, tracks)
    return np.stack([frame.pixels for frame in frames])


def measure(clip: CrossClip, result: np.ndarray, measures: Measures) -> tuple[dict[str, Row], list[SheetRow]]:
    """All rows of one clip, and its rows of the contact sheet."""
    aligner = FaceAligner(measures.keep_mask.shape[-1])
    matrices = [aligner.matrix(points) for points in clip.source.landmarks]
    frames = {"result": result, "truth": clip.truth.pixels(), "source": clip.source.pixels()}
    faces = {kind: measures.align(pixels, matrices) for kind, pixels in frames.items()}
    talks = speaking(clip.truth)
    points = np.stack([transform(*pair) for pair in zip(matrices, clip.truth.landmarks, strict=True)])
    asked = MouthTruth(clip.truth.opening, clip.source.opening, talks)
    still = ~(talks[1:] | talks[:-1])
    rows = {}
    for kind, pixels in frames.items():
        rows[kind] = score_mouth(measures.openings(pixels), asked) | measures.fidelity(faces[kind], faces["truth"])
        rows[kind] |= {"flicker": measures.flicker(faces[kind], faces["truth"], still)}
        rows[kind] |= measures.beside(faces[kind], faces["truth"], points) | {"joins": measures.joins(faces[kind])}
        rows[kind] |= measures.sync_score(faces[kind], clip.waveform)
    mean = np.rint(faces["source"].mean(axis=0, keepdims=True)).astype(np.uint8).repeat(len(result), axis=0)
    for kind, clip_faces in (("codec", measures.through_codec(faces["truth"])), ("mean face", mean)):
        rows[kind] = measures.fidelity(clip_faces, faces["truth"])
        rows[kind] |= {"flicker": measures.flicker(clip_faces, faces["truth"], still)}
    moments = np.linspace(0, len(result) - 1, SHEET_TILES).round().astype(int)
    return rows, [SheetRow(kind, faces[kind][moments]) for kind in ("source", "result", "truth")]


def load_measures(options: argparse.Namespace, keep_mask: np.ndarray, plan: WindowPlan) -> Measures:
    """Raises the ``WeightsError`` family."""
    missing = yunet.missing_files(options.mesh)
    if missing:
        raise SystemExit(f"{options.mesh} lacks {', '.join(missing)}: without them no mouth can be measured.")
    sync = None
    if options.syncnet_config is not None:
        recipe = load_config(options.syncnet_config, SyncNetRecipe, options.syncnet)
        config = SyncNetConfig.from_dict(recipe.model)
        sync = load_stable_sync(recipe.ckpt.inference_ckpt_path, config, recipe.data.view)
    return Measures(
        mesh=yunet.load(options.mesh, "cpu"),
        codec=load_codec(options.codec),
        keep_mask=keep_mask,
        plan=plan,
        lpips=None if options.vgg is None else load_lpips(options.vgg),
        sync=sync,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    file = partial(parser.add_argument, type=Path)
    file("--mesh", required=True, help="folder with the files of the detector 'yunet'")
    file("--unet", default=BUILTIN / "unet.safetensors")
    file("--codec", default=BUILTIN / "codec")
    file("--audio_encoder", default=BUILTIN / "audio_encoder.pt")
    file("--syncnet_config", help="configuration of a StableSyncNet on pixels, for cosine and offset")
    parser.add_argument("--syncnet", nargs="*", default=[], metavar="section.key=value", help="for that configuration")
    file("--vgg", help="VGG-16 of LPIPS; without it there is none")
    file("--output", default=Path("out/cross_sync"), help="folder of the results")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="number of the first clip")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--preset", choices=PRESETS, default=DEFAULT_PRESET)
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--overlap", type=int, help="frames that windows share, instead of the default")
    parser.add_argument("--guidance", type=float, help="instead of the preset's")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    settings = model_settings(options.unet, None)
    paths = WeightPaths(options.unet, options.codec, options.audio_encoder, options.mesh)
    pipeline = load_pipeline(paths, settings)
    plan = WindowPlan.for_run(None, MODEL_FPS, settings.num_frames, settings.steady_reference, options.overlap)
    measures = load_measures(options, load_mask(settings.mask, settings.resolution), plan)
    _, sampler = apply_preset(options.preset, paths, steps=options.steps, guidance_scale=options.guidance)
    batch = -(-WINDOW_FRAMES // settings.num_frames)
    sync_options = SyncOptions(sampler, batch=batch, overlap=options.overlap, check_output=False)
    clips, sheet, dubbing = [], [], 0.0
    for number in range(options.first, options.first + options.clips):
        clip = make_cross_clip(number, options.seconds, FRAME_PER_CROP * settings.resolution)
        start = time.perf_counter()
        result = dub(clip, pipeline, sync_options)
        dubbing += time.perf_counter() - start
        rows, sheet_rows = measure(clip, result, measures)
        clips.append(rows)
        sheet += sheet_rows if len(sheet) < 3 * SHEET_CLIPS else []
        print(f"clip {number}: {json.dumps(rows['result'])}", flush=True)
    summary = summarise(clips)
    text = table(summary, [name for name in FIGURES if name in summary["result"]])
    options.output.mkdir(parents=True, exist_ok=True)
    arguments = {name: str(value) for name, value in vars(options).items()}
    report = {"arguments": arguments, "seconds_of_dubbing": dubbing, "summary": summary, "clips": clips}
    (options.output / "cross_sync.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (options.output / "cross_sync.md").write_text(f"Mean over {len(clips)} clips (worst clip)\n\n{text}\n", "utf-8")
    write_sheet(options.output / "cross_sync.png", sheet)
    print(text)


if __name__ == "__main__":
    main()
