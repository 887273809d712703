"""What a user may choose about how generated faces are put back into their frames.

Importing this module loads neither torch nor OpenCV, so a command line can list the choices.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PasteSettings:
    """``feather``: width of the soft border, inside the area, as a share of the canvas side."""

    feather: float = 0.05
    match_color: bool = True
