"""Do real networks see the drawn faces? Detection rate and mouth opening of talkers, measured by a face mesh.

    python benchmarks/talkers_face_mesh.py --landmarker face_landmarker.task --detector yunet.onnx --identities 50

``--landmarker`` is MediaPipe's face landmarker bundle, ``--detector`` a YuNet model. Needs the package
``ai-edge-litert``, which is not among the requirements; without it or the files it says so and stops.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from latentsync.data.talkers.clip import TalkerClip, make_talker

INNER_LIPS, FOREHEAD_CHIN = (13, 14), (10, 152)  # points of the mesh
MESH_SIDE = 256
CROP = 1.5  # side of the mesh's crop relative to the face box, as its own pipeline takes it


class Mesh:
    """MediaPipe's landmark network on an upright crop."""

    def __init__(self, bundle: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with zipfile.ZipFile(bundle) as archive:
            self.net = Interpreter(model_content=archive.read("face_landmarks_detector.tflite"), num_threads=1)
        self.net.allocate_tensors()
        self.entry = self.net.get_input_details()[0]["index"]
        self.exit = next(o["index"] for o in self.net.get_output_details() if o["shape"][-1] == 1434)

    def points(self, frame: np.ndarray, face: np.ndarray) -> np.ndarray:
        """(478, 3) mesh in pixels of the crop; ``face`` is a row of YuNet's output."""
        x, y, width, height = face[:4]
        eyes = face[4:8].reshape(2, 2)
        angle = np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1]))
        matrix = cv2.getRotationMatrix2D(
            (x + width / 2, y + height / 2), angle, MESH_SIDE / (CROP * max(width, height))
        )
        matrix[:, 2] += MESH_SIDE / 2 - np.array((x + width / 2, y + height / 2))
        crop = cv2.warpAffine(frame, matrix, (MESH_SIDE, MESH_SIDE), flags=cv2.INTER_LINEAR)
        self.net.set_tensor(self.entry, crop[None].astype(np.float32) / 255)
        self.net.invoke()
        return self.net.get_tensor(self.exit).reshape(478, 3)


def measure(clip: TalkerClip, detector: cv2.FaceDetectorYN, mesh: Mesh) -> dict:
    """Share of frames with a face, and correlation over time of measured and drawn opening."""
    measured, drawn, scores = [], [], []
    for frame, truth in zip(clip.frames(), clip.opening, strict=True):
        _, faces = detector.detect(np.ascontiguousarray(frame[..., ::-1]))
        scores.append(0.0 if faces is None else float(faces[:, -1].max()))
        if faces is None:
            continue
        points = mesh.points(frame, faces[np.argmax(faces[:, -1])])
        upper, lower = points[list(INNER_LIPS)]
        top, chin = points[list(FOREHEAD_CHIN)]
        measured.append(np.linalg.norm(upper - lower) / np.linalg.norm(top - chin))
        drawn.append(truth)
    return {
        "identity_seed": clip.identity_seed,
        "found": float(np.mean(np.array(scores) > 0)),
        "score": float(np.mean(scores)),
        "correlation": float(np.corrcoef(measured, drawn)[0, 1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--identities", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="first identity seed")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    try:
        mesh = Mesh(arguments.landmarker)
    except (ImportError, FileNotFoundError) as error:
        print(f"not measured: {error}")
        return
    size = arguments.size
    detector = cv2.FaceDetectorYN.create(str(arguments.detector), "", (size, size), 0.6)
    rows = []
    for seed in range(arguments.first, arguments.first + arguments.identities):
        rows.append(measure(make_talker(seed, seed, seed, seconds=arguments.seconds, size=size), detector, mesh))
        print(json.dumps(rows[-1]), flush=True)
    correlation = np.array([row["correlation"] for row in rows])
    print(
        json.dumps({
            "clips": len(rows),
            "frames_found": float(np.mean([row["found"] for row in rows])),
            "mean_score": float(np.mean([row["score"] for row in rows])),
            "correlation_mean": float(correlation.mean()),
            "correlation_worst": float(correlation.min()),
            "clips_below_0.98": int((correlation < 0.98).sum()),
        }, indent=1)
    )  # fmt: skip


if __name__ == "__main__":
    main()
