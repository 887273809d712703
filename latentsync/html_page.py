"""HTML pages that need nothing besides themselves: one style, images and plots inside the file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .25em .8em; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
.plots, .examples { display: flex; flex-wrap: wrap; gap: 1em; }
.plots img { width: 340px; } figure { margin: 0; width: 240px; font-size: 80%; overflow-wrap: anywhere; }
figure img { width: 240px; }
@media (max-width: 640px) { table { display: block; overflow-x: auto; } .plots img { max-width: 100%; } }
.verdict { font-size: 115%; border-left: 4px solid #47a; padding-left: 1em; }
"""


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """The whole page from pieces of HTML; ``style`` adds to the common one."""
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}{style}</style></head>\n<body>\n{content}\n</body></html>\n"
    )


def plot(figure: Figure, text: str) -> str:
    """A drawn figure as an image; ``text`` says what it shows."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return image("png", buffer.getvalue(), text)


def photograph(pixels: np.ndarray, text: str) -> str:
    """(H, W, 3) uint8 RGB as a JPEG image."""
    import cv2

    return image("jpeg", cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes(), text)


def image(kind: str, content: bytes, text: str) -> str:
    """An encoded image of type image/``kind``."""
    return f'<img alt="{escape(text)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'
