"""One person's head under one light: painted once, then moved, given eyes and mouth, and laid into each frame."""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.data.talkers import hair, skin
from latentsync.data.talkers.eyes import EyePainter
from latentsync.data.talkers.geometry import (
    CHIN_PER_OPENING,
    UPPER_SHARE,
    Articulation,
    jaw_reach,
    jaw_weight,
    mouth_half_width,
    outline,
)
from latentsync.data.talkers.identity import Identity
from latentsync.data.talkers.mouth import MouthPainter
from latentsync.data.talkers.pose import Pose, shift_by_relief, unturn, unturn_outline
from latentsync.data.talkers.raster import Grid, blur, mix, smoothstep, to_bytes, to_display, to_linear
from latentsync.data.talkers.shading import Light, shade
from latentsync.data.talkers.surroundings import Layer

_LEFT, _TOP, _RIGHT, _BOTTOM = -1.9, -2.45, 1.9, 2.35  # the drawing, face units


class Head:
    """The drawing of a head, ``scale`` pixels per face unit: best a little more than in the frame."""

    def __init__(self, identity: Identity, light: Light, scale: float) -> None:
        self.identity, self.shape = identity, identity.shape
        self.grid = Grid.covering(_LEFT, _TOP, _RIGHT, _BOTTOM, scale)
        rng = np.random.default_rng([identity.texture_seed, 7])
        height = skin.skin_height(self.shape, *self.grid.axes())
        self.relief = skin.relief(self.shape, *self.grid.axes()).astype(np.float32)
        color, cover = _paint(identity, self.grid, height, light, rng)
        self.color, self.cover = to_bytes(to_display(_spread(color, cover, scale))), to_bytes(cover)
        self.extent = _extent(self.grid, self.cover)
        self.eyes = [EyePainter(identity, side, self.grid, self.color, light) for side in (-1, 1)]
        self.mouth = MouthPainter(identity, self.grid, light)
        self._prepare_jaw()
        self._prepare_glasses(light)
        self.back = _paint_back(identity, light, scale, rng)

    def draw(
        self, frame: np.ndarray, pose: Pose, mouth: Articulation, closure: float, gaze: tuple[float, float]
    ) -> None:
        """Lay the head into ``frame`` (H, W, 3) uint8 in place."""
        area = _area(self.extent, pose, frame.shape)
        if area is None:
            return
        rows, columns = area
        color, cover = self._face(mouth, closure, gaze)
        x, y = _face_units(pose, rows, columns)
        alpha = self._sample(cover, *unturn_outline(x, y, pose), cv2.BORDER_CONSTANT)
        flat = unturn(x, y, pose)
        relief = self._sample(self.relief, *flat, cv2.BORDER_CONSTANT)
        image = self._sample(color, *shift_by_relief(*flat, relief, pose), cv2.BORDER_REPLICATE)
        _lay(frame[rows, columns], image, alpha)

    def draw_back(self, frame: np.ndarray, pose: Pose) -> None:
        """Lay the hair behind the neck into ``frame`` in place."""
        if self.back is not None:
            draw_layer(frame, self.back, pose)

    def _face(self, mouth: Articulation, closure: float, gaze: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        color, cover = self.color.copy(), self.cover.copy()
        map_x, map_y = self._jaw_maps(mouth)
        area = self._jaw_rows, self._jaw_columns
        color[area] = cv2.remap(self.color, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cover[area] = cv2.remap(self.cover, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self.mouth.paint(color, mouth)
        for eye in self.eyes:
            eye.paint(color, closure, gaze)
        if self._glasses is not None:
            area, layer, weight = self._glasses
            color[area] = cv2.blendLinear(layer, np.ascontiguousarray(color[area]), weight, 1 - weight)
        return color, cover

    def _prepare_jaw(self) -> None:
        shape = self.shape
        self._jaw_rows, self._jaw_columns, part = self.grid.part(-0.8, shape.nose_y, 0.8, jaw_reach(shape))
        x, y = part.axes()
        self._jaw_y = y[:, 0].astype(np.float64)
        self._jaw_weight = jaw_weight(shape, x, y).astype(np.float32)
        self._near_mouth = smoothstep(1.35 * shape.mouth_half, 0.75 * shape.mouth_half, np.abs(x)).astype(np.float32)
        near_corner = x / shape.mouth_half * np.exp(-((np.clip(np.abs(x) - shape.mouth_half, 0, None) / 0.14) ** 2))
        inside = smoothstep(0.8, 0.7, np.abs(x)) * smoothstep(shape.nose_y, shape.nose_y + 0.12, y)
        self._pull = (near_corner * np.exp(-(((y - shape.mouth_y) / 0.17) ** 2)) * inside).astype(np.float32)
        self._jaw_px, self._jaw_py = (
            np.broadcast_to(v, self._jaw_weight.shape).astype(np.float32) for v in _to_pixels(self.grid, x, y)
        )

    def _jaw_maps(self, mouth: Articulation) -> tuple[np.ndarray, np.ndarray]:
        """Texture pixels from which the skin round the mouth is taken when the mouth is as given."""
        shape, scale = self.shape, np.float32(self.grid.scale)
        opening = float(mouth.opening) * shape.max_opening
        sink = np.float32(CHIN_PER_OPENING * opening)
        top, bottom = shape.mouth_y - 0.6 * shape.upper_lip, shape.mouth_y + 0.6 * shape.lower_lip
        moved = np.array([shape.nose_y, top - UPPER_SHARE * opening, bottom + (1 - UPPER_SHARE) * opening,
                          shape.chin_y - 0.12 + sink, shape.chin_y + 0.1 + sink])  # fmt: skip
        rest = [shape.nose_y, top, bottom, shape.chin_y - 0.12, shape.chin_y + 0.1]
        lips = self._jaw_y - np.interp(self._jaw_y, moved, rest)
        lips[self._jaw_y > moved[-1]] = 0
        lips *= smoothstep(shape.chin_y + sink, shape.chin_y - 0.2 + sink, self._jaw_y)
        down = sink * self._jaw_weight
        extra = lips.astype(np.float32)[:, None] * self._near_mouth
        down = (
            down
            + (extra - down)
            * self._near_mouth
            * smoothstep(shape.chin_y + sink, shape.chin_y - 0.3 + sink, self._jaw_y).astype(np.float32)[:, None]
        )
        wider = np.float32(mouth_half_width(shape, mouth) - shape.mouth_half)
        return self._jaw_px - self._pull * (wider * scale), self._jaw_py - down * scale

    def _prepare_glasses(self, light: Light) -> None:
        self._glasses = None
        rows, columns, part = self.grid.part(-1.25, -0.4, 1.25, 0.5)
        layer = hair.glasses_layer(self.identity, part)
        if layer is not None:
            color, cover = layer
            lit = to_linear(color) * np.add(light.ambient, np.multiply(light.color, 0.6)).astype(np.float32)
            self._glasses = (rows, columns), to_bytes(to_display(lit)), cover

    def _sample(self, image: np.ndarray, x: np.ndarray, y: np.ndarray, border: int) -> np.ndarray:
        return cv2.remap(image, *_to_pixels(self.grid, x, y), cv2.INTER_LINEAR, borderMode=border)


def draw_layer(frame: np.ndarray, layer: Layer, pose: Pose) -> None:
    """Lay a flat image into ``frame`` (H, W, 3) uint8 in place; of ``pose`` only position, size and roll count."""
    area = _area(_whole(layer.grid), pose, frame.shape)
    if area is None:
        return
    rows, columns = area
    step = layer.grid.scale / pose.scale
    cosine, sine = np.cos(pose.roll) * step, np.sin(pose.roll) * step
    x, y = columns.start - pose.x, rows.start - pose.y
    matrix = np.array([
        [cosine, sine, cosine * x + sine * y - layer.grid.left * layer.grid.scale],
        [-sine, cosine, cosine * y - sine * x - layer.grid.top * layer.grid.scale],
    ])  # fmt: skip
    size = (columns.stop - columns.start, rows.stop - rows.start)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(layer.color, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE)
    _lay(frame[rows, columns], image, cv2.warpAffine(layer.cover, matrix, size, flags=how))


def _paint(
    identity: Identity, grid: Grid, height: np.ndarray, light: Light, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Linear light (H, W, 3) and cover (H, W) of ears, skin, beard, brows and hair."""
    ears, ear_cover = hair.ear_layer(identity, grid)
    ear_albedo = np.ones((grid.height, grid.width, 3), np.float32) * to_linear(identity.skin) * (0.92, 0.78, 0.76)
    face = grid.mask(outline(identity.shape))
    bare = skin.lit_skin(identity, height, grid, light, rng)
    skin.paint_brows(bare, identity, grid, rng)
    locks = hair.strands(identity, grid, light, rng)
    beard = hair.beard_cover(identity, grid, rng)
    hang = beard * smoothstep(0.0, 0.5, blur(face, 0.04 * grid.scale))  # a beard stands out a little over the chin
    bare = mix(bare, hair.bristles(identity, grid, light, rng), beard)
    front = hair.front_cover(identity, grid, rng)
    shadow = blur(np.roll(front, round(0.05 * grid.scale), axis=0), 0.05 * grid.scale)
    bare *= (1 - 0.45 * shadow * (1 - front))[..., None]
    lit_ears = shade(ear_albedo.astype(np.float32), ears, light, grid.scale, 0.2)
    return _stack([(lit_ears, ear_cover), (bare, np.maximum(face, hang)), (locks, front)])


def _stack(layers: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Color and cover of layers (color (H, W, 3), cover (H, W)) laid over each other, the last on top."""
    weighted, cover = layers[0][0] * layers[0][1][..., None], layers[0][1]
    for color, over in layers[1:]:
        weighted = mix(weighted, color, over)
        cover = cover + over - cover * over
    return weighted / np.maximum(cover, 1e-4)[..., None], cover


def _paint_back(identity: Identity, light: Light, scale: float, rng: np.random.Generator) -> Layer | None:
    grid = Grid.covering(_LEFT, -0.6, _RIGHT, _BOTTOM, scale)
    cover = hair.back_cover(identity, grid, rng)
    if cover is None:
        return None
    locks = hair.strands(identity, grid, light, rng) * np.float32(0.62)
    return Layer(grid, to_bytes(to_display(locks)), to_bytes(cover)).trimmed()


def _spread(color: np.ndarray, cover: np.ndarray, scale: float) -> np.ndarray:
    """Continue the colors beyond the edge of the drawing, so that the edge may be moved and sampled."""
    result = color * cover[..., None]
    filled = cover
    for sigma in (0.05 * scale, 0.3 * scale):
        weight = blur(filled, sigma)
        near = blur(result, sigma) / np.maximum(weight, 1e-4)[..., None]
        gap = (1 - filled)[..., None]
        result = result + near * gap * (weight > 1e-3)[..., None]
        filled = np.where(weight > 1e-3, np.float32(1), filled)
    return result


def _face_units(pose: Pose, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """Position on the turned head of each frame pixel of an area, float32 face units."""
    dx = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(pose.x)
    dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(pose.y)
    cosine, sine = np.float32(np.cos(pose.roll) / pose.scale), np.float32(np.sin(pose.roll) / pose.scale)
    return cosine * dx + sine * dy, cosine * dy - sine * dx


def _to_pixels(grid: Grid, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.float32(grid.scale)
    return (x - np.float32(grid.left)) * scale, (y - np.float32(grid.top)) * scale


Box = tuple[float, float, float, float]  # left, top, right, bottom in face units


def _whole(grid: Grid) -> Box:
    return grid.left, grid.top, grid.left + grid.width / grid.scale, grid.top + grid.height / grid.scale


def _extent(grid: Grid, cover: np.ndarray) -> Box:
    """What the head may cover: the drawing, with room for the chin to sink and to follow the nose."""
    rows, columns = np.nonzero(cover.any(axis=1))[0], np.nonzero(cover.any(axis=0))[0]
    margin = 0.22
    left, right = grid.left + columns[[0, -1]] / grid.scale
    top, bottom = grid.top + rows[[0, -1]] / grid.scale
    return left - margin, top - 0.05, right + margin, bottom + margin


def _area(box: Box, pose: Pose, frame_shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns of the frame that a drawing may touch; None when it is out of the frame."""
    left, top, right, bottom = box
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    cosine, sine = np.cos(pose.roll) * pose.scale, np.sin(pose.roll) * pose.scale
    x = corners @ (cosine, -sine) + pose.x
    y = corners @ (sine, cosine) + pose.y
    x0, x1 = (int(np.clip(v, 0, frame_shape[1])) for v in (np.floor(x.min()), np.ceil(x.max()) + 1))
    y0, y1 = (int(np.clip(v, 0, frame_shape[0])) for v in (np.floor(y.min()), np.ceil(y.max()) + 1))
    return (slice(y0, y1), slice(x0, x1)) if x1 > x0 and y1 > y0 else None


def _lay(under: np.ndarray, over: np.ndarray, cover: np.ndarray) -> None:
    weight = cover.astype(np.float32) * np.float32(1 / 255)
    under[:] = cv2.blendLinear(over, np.ascontiguousarray(under), weight, 1 - weight)
