"""What latent codecs leave of real and drawn faces: error and sharpness of the mouth, side by side.

    python -m benchmarks.codec_faces --people DIR --mesh DIR --codec checkpoints/builtin/codec --codec RUN/weights/last

Faces are those that no training of ``configs/codec/builtin.yaml`` has seen: of photographs and of recordings under
``--people`` (a row each), and of drawn talkers. Figures: PSNR of the area that is generated (mean over the faces); the
variance of the Laplacian of the mouth area over the true one's (median); and by how many grey levels its mean color is
off. Writes ``codec_faces.md``, ``codec_faces.json`` and ``codec_faces.png``, whose rows are the truth and then each
codec, the mouths enlarged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from latentsync.checkpoint import load_codec
from latentsync.data.face_augmentation import UNCHANGED, FaceAugmentation
from latentsync.data.still_faces import IMAGE_SUFFIXES, StillFace, find_stills, split_stills
from latentsync.data.talkers.clip import make_talker
from latentsync.face.align import FaceAligner, align_face
from latentsync.face.mask import load_mask
from latentsync.levels import normalize, to_image
from latentsync.metrics.fidelity import psnr
from latentsync.metrics.sharpness import laplacian_variance
from latentsync.models.codec import LatentCodec

MOUTH = (slice(68, 116), slice(32, 96))  # rows and columns of a face of 128 pixels
ENLARGED = 3
SHOWN = 8  # faces of each kind
HELD_OUT = 0.08  # as in the configuration
TALKER_SEED = 5_000_000  # beyond all trainings


@dataclass(frozen=True)
class Kind:
    """Aligned faces (N, 3, R, R) uint8 RGB of one kind."""

    name: str
    faces: np.ndarray


def real_kinds(options: argparse.Namespace, side: int) -> list[Kind]:
    """Held-out photographs and recordings."""
    stills = find_stills(options.people, options.mesh, options.cache, options.frames_per_recording)
    _, held_out = split_stills(stills, HELD_OUT, options.people)
    photographs = [still for still in held_out if still.path.suffix.lower() in IMAGE_SUFFIXES]
    recordings = [still for still in held_out if still not in photographs]
    return [_kind("photographs", photographs, side), _kind("recordings", recordings, side)]


def drawn_kind(count: int, side: int) -> Kind:
    """One frame of each of ``count`` talkers."""
    aligner, faces = FaceAligner(side), []
    for number in range(count):
        seed = TALKER_SEED + 3 * number
        talker = make_talker(seed, seed + 1, seed + 2, seconds=0.4, size=2 * side)
        frame, points = next(iter(zip(talker.frames(), talker.landmarks, strict=True)))
        faces.append(to_image(align_face(frame, aligner.matrix(points), side).pixels).transpose(2, 0, 1))
    return Kind("talkers", np.stack(faces))


@torch.inference_mode()
def through(codec: LatentCodec, faces: np.ndarray) -> np.ndarray:
    """The faces encoded and decoded."""
    pixels = normalize(torch.from_numpy(faces))
    return (codec.decode(codec.encode(pixels)).clamp(-1, 1).add(1).mul(127.5)).round().byte().numpy()


def score(result: np.ndarray, truth: np.ndarray, hole: np.ndarray, mouth: np.ndarray) -> dict[str, float]:
    """Of one kind; see the module's docstring."""
    one, other = (faces.transpose(0, 2, 3, 1) for faces in (result, truth))
    each = [psnr(a[None], b[None], hole) for a, b in zip(one, other, strict=True)]
    sharp = [
        laplacian_variance(a, mouth) / max(laplacian_variance(b, mouth), 1e-6) for a, b in zip(one, other, strict=True)
    ]
    shift = np.abs(one[:, mouth].mean(axis=1) - other[:, mouth].mean(axis=1)).mean()
    return {"psnr": float(np.mean(each)), "sharpness": float(np.median(sharp)), "color": float(shift)}


def sheet(kinds: Sequence[Kind], results: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """(H, W, 3) RGB: for every kind the mouths of the truth and below them those of each codec."""
    rows = []
    for kind, of_kind in zip(kinds, results, strict=True):
        for faces in (kind.faces, *of_kind):
            mouths = [face.transpose(1, 2, 0)[MOUTH] for face in faces[:SHOWN]]
            rows.append(cv2.resize(np.hstack(mouths), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC))
    widest = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 4), (0, widest - row.shape[1]), (0, 0))) for row in rows])


def _kind(name: str, stills: Sequence[StillFace], side: int) -> Kind:
    aligner, augment = FaceAligner(side), FaceAugmentation(side, UNCHANGED)
    rng = np.random.default_rng(0)
    faces = [augment(still.pixels, aligner.matrix(still.landmarks), rng) for still in stills]
    return Kind(name, np.stack(faces))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path, required=True, help="folder of photographs and recordings")
    parser.add_argument("--mesh", type=Path, required=True, help="folder with the files of the detector 'yunet'")
    parser.add_argument("--cache", type=Path, default=Path("output/builtin/cache"), help="of the faces found")
    parser.add_argument("--frames_per_recording", type=int, default=6)
    parser.add_argument("--codec", type=Path, action="append", required=True, help="folder of a codec; may come again")
    parser.add_argument("--talkers", type=int, default=16)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--output", type=Path, default=Path("out/codec_faces"))
    options = parser.parse_args()
    kinds = [*real_kinds(options, options.side), drawn_kind(options.talkers, options.side)]
    hole = 1 - load_mask("mask.png", options.side)[0]
    mouth = load_mask("mask3.png", options.side)[0] < 0.5
    codecs = [load_codec(path) for path in options.codec]
    results = [[through(codec, kind.faces) for codec in codecs] for kind in kinds]
    rows = [
        {"codec": str(path), "faces": kind.name, "count": len(kind.faces), **score(result, kind.faces, hole, mouth)}
        for kind, of_kind in zip(kinds, results, strict=True)
        for path, result in zip(options.codec, of_kind, strict=True)
    ]
    lines = ["| codec | faces | count | PSNR inside, dB | sharpness | color, levels |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['codec']} | {row['faces']} | {row['count']} | {row['psnr']:.1f} | {row['sharpness']:.2f} | "
        f"{row['color']:.1f} |"
        for row in rows
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "codec_faces.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    (options.output / "codec_faces.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    image = cv2.cvtColor(sheet(kinds, results), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(options.output / "codec_faces.png"), image)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
