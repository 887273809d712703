"""What a user may choose about how generated faces are put back into their frames.

Importing this module loads neither torch nor OpenCV, so a command line can list the choices.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentsync.errors import ConfigError

FACE, TRAINED = "face", "trained"
MOST_FEATHER, MOST_EXPAND = 0.25, 0.25  # shares of the canvas side


@dataclass(frozen=True, slots=True)
class PasteSettings:
    """How faces are put back. Raises ``ConfigError`` for values that make no sense.

    ``mask``: what is painted of the area that the network generates: 'face', which follows the landmarks; 'trained',
    all of it; or what ``face.mask.load_mask`` reads, white = left alone. ``feather``: width of the soft border, inside
    the area, as a share of the canvas side. ``expand``: by how much the outline of the face is larger (negative:
    smaller), as a share of the side. ``match_color``: bring the colors to those of the frame. ``detail``: share of the
    source's fine structure that is carried over outside the lips, from 0 to 1. ``enhance``: what improves generated
    faces before that (``inference.enhance``), and ``enhance_strength``: how much of it is taken, 0 = it is not called.
    ``debug_mask``: tint what is painted.
    """

    mask: str = FACE
    feather: float = 0.05
    expand: float = 0.0
    match_color: bool = True
    detail: float = 1.0
    enhance: str = ""
    enhance_strength: float = 1.0
    debug_mask: bool = False

    def __post_init__(self) -> None:
        self._check("--feather", self.feather, 0.0, MOST_FEATHER)
        self._check("--expand", self.expand, -MOST_EXPAND, MOST_EXPAND)
        self._check("--detail", self.detail, 0.0, 1.0)
        self._check("--enhance_strength", self.enhance_strength, 0.0, 1.0)

    @staticmethod
    def _check(name: str, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            raise ConfigError(f"{name} {value:g} makes no sense.", remedy=f"Give a number from {least:g} to {most:g}.")
