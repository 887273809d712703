"""S3FD for the boxes and 2D-FAN for the landmarks, as in the published 1.0 and 1.5, by the face-alignment package.

The package's own loader downloads weights; here its networks are built from local files instead. Its landmarks are
truncated to whole pixels; here the peak of each heat map is read with sub-pixel precision.
Networks: Zhang et al. 2017, "S3FD: Single shot scale-invariant face detector"; Bulat & Tzimiropoulos 2017, "How far are
we from solving the 2D & 3D face alignment problem?".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from latentsync.errors import DeviceError, WeightsCorruptError
from latentsync.face.detector import DOWNLOAD, Detection, find_weights, require_weights
from latentsync.face.resample import warp_frame_bilinear
from latentsync.runtime.memory import Portions, is_out_of_memory, with_memory_freed
from latentsync.runtime.side_network import SideNetwork
from latentsync.types import Frame

S3FD_FILES = ("s3fd-619a316812.pth",)
# The plain state dict that the package's release 1.5 reads, or the TorchScript archive of its earlier releases.
FAN_FILES = ("2DFAN4-11f355bf06.pth.tar", "2DFAN4-cd938726ad.zip")
FILES = (S3FD_FILES, FAN_FILES)  # one of each is needed

DETECTION_SIDE = 640  # longer side of the frame that S3FD gets, px
MIN_SCORE = 0.5
FAN_SIDE = 256  # px of the crop
HEATMAP_SIDE = 64  # cells
PEAK_RADIUS = 2  # cells around the highest one that determine the peak's position
BOX_REFERENCE = 195  # px: width plus height of a box, over this, is the package's unit of scale
CROP_REACH = 200  # px of crop per unit of scale
BOX_LIFT = 0.12  # share of the box's height by which the crop lies above its centre
FAN_BATCH = 16
MOST_FRAMES = 16  # that S3FD gets at once
MEAN_BGR = (104.0, 117.0, 123.0)  # that S3FD was trained to see taken away


def missing_files(weights_dir: Path) -> list[str]:
    """Names of the files that are not there."""
    return [names[0] for names in FILES if find_weights(weights_dir, names) is None]


def load(weights_dir: Path, device: str, threads: int | None = None) -> FaceAlignmentDetector:
    """The detector from the files in ``weights_dir``; ``threads`` is not used, torch has its own setting."""
    s3fd, fan = (require_weights(weights_dir, names) for names in FILES)
    return read_detector(s3fd, fan, device)


def read_detector(s3fd_path: Path, fan_path: Path, device: str) -> FaceAlignmentDetector:
    """The detector from two files. Raises ``DeviceError``, ``WeightsCorruptError`` and ``OutOfMemoryError``."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"Device {device} is not available.", remedy="Use --device cpu.")
    boxes, points = with_memory_freed(
        lambda: (S3FDBoxes(s3fd_path, device), _load_fan(fan_path, device)), f"the face detector on {device}"
    )
    beside = SideNetwork(torch.device(device))
    half = beside.try_half(
        (lambda images: torch.cat([each.flatten() for each in boxes.maps(images)]), _example(FAN_SIDE)),
        (lambda crops: _last(points(crops)), _example(FAN_SIDE) / 255),
    )
    name = f"face-alignment-reduced-{DETECTION_SIDE}-{MIN_SCORE}-subpixel-{fan_path.name.partition('.')[0]}"
    return FaceAlignmentDetector(boxes, points, beside, name + "-half" * half)


def _example(side: int) -> torch.Tensor:
    """(1, 3, side, side) float32 in 0 to 255: soft spots, the same each time."""
    spots = torch.rand(1, 3, side // 16, side // 16, generator=torch.Generator().manual_seed(0)) * 255
    return torch.nn.functional.interpolate(spots, size=(side, side), mode="bilinear")


class BoxNetwork(Protocol):
    """Finds faces; ``S3FDBoxes`` is one."""

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Images (n, 3, h, w) RGB in 0 to 255 -> scores and places at each scale, on the images' device."""
        ...

    def find(self, maps: list[np.ndarray]) -> list[list[np.ndarray]]:
        """For each image a list of rows x0, y0, x1, y1, score in pixels of the image."""
        ...


class S3FDBoxes:
    """S3FD on ``device``.

    Not by the package's own call: that lets cuDNN choose its kernels by a race, for the whole process, so that the
    other networks would give other last digits from run to run.
    """

    def __init__(self, path: Path, device: str) -> None:
        from face_alignment.detection.sfd.sfd_detector import SFDDetector

        try:
            self._detector = SFDDetector(device=device, path_to_detector=str(path), filter_threshold=MIN_SCORE)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise _corrupt(path, error) from error
        self._mean = torch.tensor(MEAN_BGR, device=device).view(1, 3, 1, 1)

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """See ``BoxNetwork.maps``."""
        maps = self._detector.face_detector(images.float().flip(1) - self._mean)
        maps[::2] = [scores.softmax(dim=1) for scores in maps[::2]]
        return maps

    def find(self, maps: list[np.ndarray]) -> list[list[np.ndarray]]:
        """See ``BoxNetwork.find``."""
        from face_alignment.detection.sfd.detect import get_predictions

        candidates = get_predictions(maps, len(maps[0]))
        return [self._detector._filter_bboxes(each) for each in candidates]


class FaceAlignmentDetector:
    """See the module's docstring. ``points`` is 2D-FAN; ``beside`` knows where the networks are.

    Works on half as many frames or faces at once when memory runs out.
    """

    def __init__(self, boxes: BoxNetwork, points: torch.nn.Module, beside: SideNetwork, name: str) -> None:
        self.name = name
        self._boxes = boxes
        self._fan = points
        self._beside = beside
        self._frames_at_once = Portions(MOST_FRAMES, "the faces of a single frame")
        self._faces_at_once = Portions(FAN_BATCH, "the landmarks of a single face")

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        """See ``FaceDetector.detect``. Raises ``OutOfMemoryError`` if a single frame does not fit."""
        found: list[list[Detection]] = []
        with self._beside.at_work():
            while len(found) < len(frames):
                part = frames[len(found) : len(found) + self._frames_at_once.limit]
                found += self._frames_at_once.attempt(self._detect, part) or []
        return found

    def _detect(self, frames: list[Frame]) -> list[list[Detection]]:
        height, width, _ = frames[0].shape
        scale = min(1.0, DETECTION_SIDE / max(height, width))
        reduced = np.stack([frame.reduced(scale) for frame in frames])
        ratio = np.array([width / reduced.shape[2], height / reduced.shape[1]] * 2)
        maps = self._beside.fetch(self._boxes.maps(self._beside.send(reduced).permute(0, 3, 1, 2)))
        boxes, owners = [], []
        for owner, rows in enumerate(self._boxes.find(maps)):
            for row in rows:
                boxes.append(np.append(row[:4] * ratio, row[4]))
                owners.append(owner)
        found: list[list[Detection]] = [[] for _ in frames]
        faces = [(frames[owner], box) for owner, box in zip(owners, boxes, strict=True)]
        landmarks: list[np.ndarray] = []
        while len(landmarks) < len(faces):
            done = self._faces_at_once.attempt(
                self._landmarks, faces[len(landmarks) : len(landmarks) + self._faces_at_once.limit]
            )
            if done is not None:
                landmarks.extend(done)
        for owner, box, points in zip(owners, boxes, landmarks, strict=True):
            detection = Detection((box[:4] - 0.5).astype(np.float32), points, float(np.clip(box[4], 0, 1)))
            found[owner].append(detection)
        return [sorted(faces, key=lambda face: -face.score) for faces in found]

    def _landmarks(self, faces: list[tuple[Frame, np.ndarray]]) -> np.ndarray:
        """(n, 68, 2) float32 frame pixels for ``n`` frames, each with a box (5,)."""
        frames, boxes = [frame for frame, _ in faces], np.array([box for _, box in faces])
        extent = boxes[:, 2:4] - boxes[:, :2]
        sides = CROP_REACH * extent.sum(axis=1) / BOX_REFERENCE
        corners = boxes[:, :2] + extent / 2 - sides[:, None] / 2
        corners[:, 1] -= BOX_LIFT * extent[:, 1]
        crops = [_crop(frame, corner, side) for frame, corner, side in zip(frames, corners, sides, strict=True)]
        batch = self._beside.send(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        heatmaps = _last(self._fan(batch))
        highest, values = self._beside.fetch(heatmap_peaks(heatmaps))
        peaks = peak_positions(highest, values, *heatmaps.shape[2:])
        cells = sides[:, None, None] / HEATMAP_SIDE
        return (corners[:, None] + (peaks + 0.5) * cells - 0.5).astype(np.float32)


def _last(heatmaps: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """2D-FAN gives one set of heat maps for each of its stages, the last the best; or that one alone."""
    return heatmaps if isinstance(heatmaps, torch.Tensor) else heatmaps[-1]


def heatmap_peaks(heatmaps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Heat maps (n, 68, h, w) -> the number of each map's highest cell (n, 68), and the values around it, row by row
    (n, 68, 5, 5). Outside a map its border is repeated.
    """
    height, width = heatmaps.shape[2:]
    cells = heatmaps.flatten(2)
    highest = cells.argmax(dim=-1)
    reach = torch.arange(-PEAK_RADIUS, PEAK_RADIUS + 1, device=heatmaps.device)
    rows = (highest // width)[..., None] + reach
    columns = (highest % width)[..., None] + reach
    around = rows.clamp(0, height - 1)[..., :, None] * width + columns.clamp(0, width - 1)[..., None, :]
    return highest, cells.gather(2, around.flatten(2)).unflatten(2, around.shape[2:])


def peak_positions(highest: np.ndarray, values: np.ndarray, height: int, width: int) -> np.ndarray:
    """(n, 68, 2) x, y in cells, cell centres at whole numbers: the centre of mass around each map's highest cell.

    Takes what ``heatmap_peaks`` gives of maps of ``height`` x ``width`` cells. Negative values count as 0.
    """
    reach = np.arange(-PEAK_RADIUS, PEAK_RADIUS + 1)
    # Near an edge the neighbourhood shrinks on both sides, so that it stays centred on the peak.
    rows = (highest.astype(np.int64) // width)[..., None] + reach
    columns = (highest.astype(np.int64) % width)[..., None] + reach
    inside = ((rows >= 0) & (rows < height))[..., :, None] & ((columns >= 0) & (columns < width))[..., None, :]
    inside &= inside[..., ::-1, ::-1]
    mass = np.where(inside, np.maximum(values, 0), 0) + 1e-12
    total = mass.sum(axis=(-1, -2))
    x = (mass.sum(axis=-2) * columns).sum(axis=-1) / total
    y = (mass.sum(axis=-1) * rows).sum(axis=-1) / total
    return np.stack([x, y], axis=-1)


def _crop(frame: Frame, corner: np.ndarray, side: float) -> np.ndarray:
    """(256, 256, 3) uint8: the square of ``side`` px with its outer top left at ``corner``; black outside the frame."""
    scale = FAN_SIDE / side
    matrix = np.array([[scale, 0, 0], [0, scale, 0]])
    matrix[:, 2] = -0.5 - scale * (corner - 0.5)
    return warp_frame_bilinear(frame, matrix, (FAN_SIDE, FAN_SIDE))


def _load_fan(path: Path, device: str) -> torch.nn.Module:
    from face_alignment.models import FAN

    try:
        if path.suffix == ".zip":
            network = torch.jit.load(str(path), map_location=device)
        else:
            network = FAN(4)
            network.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _corrupt(path, error) from error
    return network.to(device).eval()


def _corrupt(path: Path, error: Exception) -> WeightsCorruptError:
    return WeightsCorruptError(
        f"{path} ({path.stat().st_size} bytes) is not the network it should be: {str(error).splitlines()[0]}",
        remedy=f"Delete it and run: {DOWNLOAD}",
    )
