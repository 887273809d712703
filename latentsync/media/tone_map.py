"""HDR to what any screen shows: frames of the transfers HLG and PQ (ITU-R BT.2100) as BT.709.

Where a result has 8 bits a color, or a codec that players do not show as HDR, its values would be read as those of an
ordinary screen and look dull. So light is computed, brought from the primaries of BT.2020 to those of BT.709, and what
is brighter than white is compressed. HLG's reference white lies at 75 % of its range, and so 203 cd/m2 are white here
(ITU-R BT.2408).
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.types import ColorTags

PQ, HLG = 16, 18  # FFmpeg's codes of the transfers
_WHITE = 203.0  # cd/m2
_HLG_PEAK = 1000.0  # cd/m2 of the screen that HLG is rendered for here
_HLG_GAMMA = 1.2  # of its system, for that screen
_KNEE = 0.7  # of white: light up to here stays as it is
_STEPS = 4096  # of the last table
_TO_BT709 = np.array(  # from linear light in BT.2020 (ITU-R BT.2087)
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_LUMA = np.array([[0.2627, 0.6780, 0.0593]], np.float32)  # of BT.2020


def is_hdr(color: ColorTags) -> bool:
    """Whether a stream says that its transfer is HLG or PQ."""
    return color.transfer in (PQ, HLG)


class ToneMap:
    """Turns RGB of one HDR transfer, (H, W, 3) uint8, into RGB of BT.709, the same."""

    def __init__(self, transfer: int) -> None:
        self._hlg = transfer == HLG
        code = np.arange(256) / 255
        self._light = (_hlg_scene_light(code) if self._hlg else _pq_light(code)).astype(np.float32)
        self._codes = _codes()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """For one image."""
        light = self._light[pixels]
        if self._hlg:  # scene light -> light of the screen, by its luma
            luma = cv2.transform(light, _LUMA)
            light *= (np.power(np.maximum(luma, 1e-6), _HLG_GAMMA - 1) * (_HLG_PEAK / _WHITE))[..., None]
        light = cv2.transform(light, _TO_BT709)
        # The brightest color decides, so that no hue changes by clipping.
        peak = np.maximum(light.max(axis=2), 1e-6)
        light *= (_compressed(peak, self._most) / peak)[..., None]
        return self._codes[np.clip(light * (_STEPS - 1), 0, _STEPS - 1).astype(np.int16)]

    @property
    def _most(self) -> float:
        """The brightest light that there is, in units of white."""
        return (_HLG_PEAK if self._hlg else 10_000.0) / _WHITE


def _hlg_scene_light(code: np.ndarray) -> np.ndarray:
    """[0, 1] -> [0, 1]: the inverse OETF (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def _pq_light(code: np.ndarray) -> np.ndarray:
    """[0, 1] -> light in units of white: the EOTF (BT.2100, table 4)."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = code ** (1 / m2)
    return (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / _WHITE


def _compressed(light: np.ndarray, most: float) -> np.ndarray:
    """Light in units of white: as it is up to the knee, then ever less, so that ``most`` becomes 1."""
    room, over = 1 - _KNEE, np.maximum(light - _KNEE, 0)
    reach = most - _KNEE
    return np.minimum(light, _KNEE) + room * np.log1p(over / room * 2) / np.log1p(reach / room * 2)


def _codes() -> np.ndarray:
    """(_STEPS,) uint8: linear light -> code of a screen with the gamma 2.4 (ITU-R BT.1886)."""
    return np.rint(255 * np.linspace(0, 1, _STEPS) ** (1 / 2.4)).astype(np.uint8)
