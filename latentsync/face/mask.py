"""Which part of the canvas the network generates: the four published outlines, or a picture file of the user's.

The outlines are stored as run lengths of rows at 256 px: a keep mask of 1 and 0. Other sizes are resized from these
with Lanczos interpolation, as in the published code, which gives soft edges.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import ConfigError

SIDE = 256  # pixels of the outlines below
LARGEST = 4096  # pixels of a side of a stranger's picture
_PNG = b"\x89PNG\r\n\x1a\n"

# (first row, first column, last column): the span of columns holds until the next entry; the last entry ends the shape.
JAW = (
    (128, 9, 247), (135, 9, 246), (136, 10, 246), (149, 10, 245), (150, 11, 245), (163, 11, 244), (164, 12, 244),
    (170, 12, 243), (171, 13, 243), (172, 13, 242), (173, 14, 242), (174, 14, 241), (175, 15, 241), (176, 15, 240),
    (177, 16, 240), (178, 16, 239), (179, 17, 238), (180, 18, 238), (181, 18, 237), (182, 19, 236), (184, 20, 235),
    (185, 21, 234), (187, 22, 233), (188, 22, 232), (189, 23, 232), (190, 24, 231), (191, 25, 230), (192, 26, 230),
    (193, 26, 229), (194, 27, 228), (195, 28, 228), (196, 29, 227), (197, 30, 226), (198, 31, 225), (199, 32, 224),
    (200, 33, 223), (201, 34, 223), (202, 34, 222), (203, 35, 221), (204, 36, 220), (205, 37, 219), (206, 38, 218),
    (207, 39, 217), (208, 40, 216), (209, 42, 215), (210, 43, 214), (211, 44, 213), (212, 45, 212), (213, 47, 211),
    (214, 48, 210), (215, 49, 208), (216, 51, 207), (217, 52, 206), (218, 54, 204), (219, 56, 203), (220, 57, 202),
    (221, 59, 200), (222, 60, 199), (223, 62, 197), (224, 64, 196), (225, 66, 194), (226, 68, 192), (227, 70, 191),
    (228, 72, 189), (229, 74, 187), (230, 76, 185), (231, 78, 183), (232, 80, 180), (233, 82, 178), (234, 85, 175),
    (235, 87, 173), (236, 90, 171), (237, 93, 168), (238, 95, 166), (239, 99, 164), (240, 104, 160), (241, 108, 156),
    (242, 131, 152), (243, 0, -1),
)  # fmt: skip
MOUTH = (
    (128, 39, 217), (137, 40, 216), (144, 41, 215), (149, 42, 214), (153, 43, 213), (156, 44, 212), (159, 45, 211),
    (162, 46, 210), (164, 47, 209), (166, 48, 208), (168, 49, 207), (170, 50, 206), (172, 51, 205), (174, 52, 204),
    (175, 53, 203), (177, 54, 202), (179, 55, 201), (180, 56, 200), (182, 57, 199), (183, 58, 198), (184, 59, 197),
    (186, 60, 196), (187, 61, 195), (188, 62, 194), (189, 63, 193), (190, 64, 192), (191, 65, 191), (192, 66, 190),
    (193, 67, 189), (194, 68, 188), (195, 69, 187), (196, 70, 186), (197, 72, 184), (198, 73, 183), (199, 74, 182),
    (200, 76, 180), (201, 77, 179), (202, 78, 178), (203, 80, 176), (204, 82, 174), (205, 83, 173), (206, 85, 171),
    (207, 86, 169), (208, 88, 167), (209, 90, 165), (210, 93, 163), (211, 95, 161), (212, 97, 158), (213, 100, 155),
    (214, 104, 152), (215, 108, 148), (216, 113, 143), (217, 120, 136), (218, 0, -1),
)  # fmt: skip
CHEEKS = ((95, 9, 77), (128, 0, -1)), ((95, 178, 246), (128, 0, -1))  # beside the nose
EYES = ((60, 9, 246), (128, 0, -1))

OUTLINES = {"mask": (*CHEEKS, JAW), "mask2": (JAW,), "mask3": (MOUTH,), "mask4": (EYES, JAW)}


def load_mask(name: str | Path, resolution: int) -> np.ndarray:
    """(1, R, R) float32 keep mask: 1 = keep, 0 = generate.

    ``name``: 'mask', 'mask2', 'mask3' or 'mask4', with or without '.png', or the path of a picture file (white = keep,
    black = generate) of any square size. Raises ``ConfigError`` if there is no such mask or the file cannot be used.
    """
    outline = OUTLINES.get(str(name).removesuffix(".png"))
    image = _read_image(Path(name)) if outline is None else _draw(outline)
    if image.shape != (resolution, resolution):
        image = cv2.resize(image, (resolution, resolution), interpolation=cv2.INTER_LANCZOS4)
    return (image.astype(np.float32) / 255)[None]


def check_picture(path: Path) -> None:
    """Refuse a stranger's picture that is no PNG, or would take much memory; its header says so before it is decoded.

    Raises ``ConfigError``. Whether it is square is for ``load_mask`` to say.
    """
    with path.open("rb") as file:
        head = file.read(24)
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    if not head.startswith(_PNG) or len(head) < 24:
        raise ConfigError(f"The mask {path} is not a PNG.", remedy="Give a PNG: white = keep, black = generate.")
    if not 0 < max(width, height) <= LARGEST:
        raise ConfigError(
            f"The mask {path} is {width} x {height} px; up to {LARGEST} are taken.", remedy="Draw it smaller."
        )


def _draw(outline: tuple) -> np.ndarray:
    image = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    for spans in outline:
        for (row, first, last), (until, _, _) in zip(spans, spans[1:], strict=False):
            image[row:until, first : last + 1] = 0
    return image


def _read_image(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ConfigError(
            f"There is no mask {path}.", remedy=f"Use one of {', '.join(OUTLINES)}, or the path of a picture file."
        )
    image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ConfigError(
            f"The mask {path} is not a picture file.", remedy="Give a PNG: white = keep, black = generate."
        )
    if image.shape[0] != image.shape[1]:
        raise ConfigError(
            f"The mask {path} is {image.shape[1]} x {image.shape[0]} px, not square.",
            remedy="Draw it as large as the square canvas of aligned faces.",
        )
    return image
