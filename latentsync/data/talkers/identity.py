"""Who is talking: everything about a drawn person that does not change from clip to clip, drawn from one seed.

Lengths are in face units (see ``raster``); colors are display RGB in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]

_SKIN_TONES = (
    (0.96, 0.83, 0.76), (0.93, 0.76, 0.67), (0.88, 0.69, 0.58), (0.80, 0.61, 0.49),
    (0.69, 0.50, 0.39), (0.57, 0.39, 0.29), (0.45, 0.30, 0.22), (0.34, 0.23, 0.17),
)  # fmt: skip
_HAIR_TONES = (
    (0.07, 0.06, 0.06), (0.13, 0.09, 0.07), (0.24, 0.15, 0.10), (0.36, 0.23, 0.14),
    (0.52, 0.35, 0.20), (0.75, 0.59, 0.36), (0.48, 0.22, 0.11), (0.62, 0.60, 0.58), (0.86, 0.85, 0.83),
)  # fmt: skip
_IRIS_TONES = ((0.24, 0.14, 0.08), (0.36, 0.22, 0.11), (0.30, 0.40, 0.52), (0.33, 0.43, 0.31), (0.42, 0.40, 0.24))
HAIR_STYLES = ("bald", "buzz", "short", "swept", "curly", "bob", "long", "bun")
_STYLES_LIGHT = (0.02, 0.04, 0.10, 0.14, 0.14, 0.18, 0.26, 0.12)  # how common each is among light builds
_STYLES_HEAVY = (0.14, 0.16, 0.28, 0.22, 0.12, 0.02, 0.05, 0.01)  # and among heavy ones
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
GLASSES = ("none", "round", "square", "half")


@dataclass(frozen=True)
class FaceShape:
    """Lengths of the face at rest, mouth closed."""

    cheek: float  # half width at the cheekbones
    jaw: float  # half width at the height of the mouth
    chin: float  # half width of the flat of the chin
    chin_y: float
    crown_y: float  # top of the skull, under the hair
    eye_width: float  # corner to corner
    eye_height: float  # fully open
    eye_tilt: float  # outer corner above inner corner
    brow_y: float  # middle of the brow
    brow_arch: float
    brow_thickness: float
    nose_y: float  # where the nose meets the lip
    nose_half: float  # half width over the wings
    nose_height: float  # how far the tip stands out
    mouth_y: float
    mouth_half: float
    upper_lip: float  # thickness
    lower_lip: float
    smile: float  # corners above the middle
    max_opening: float  # inner-lip distance when fully open

    @property
    def height(self) -> float:
        """Bridge of the nose (landmark 27) to chin (landmark 8) at rest: the length that openings are divided by."""
        return self.chin_y - self.bridge_y

    @property
    def bridge_y(self) -> float:
        """Of landmark 27."""
        return -0.04


@dataclass(frozen=True)
class Voice:
    """What a person sounds like."""

    pitch: float  # mean fundamental, Hz
    tract: float  # formants relative to an adult man's
    breath: float  # noise in the voice, 0 to 1
    rate: float  # phones relative to the ordinary duration, > 1 is slower
    articulation: float  # how far the mouth opens, 1 = ordinary


@dataclass(frozen=True)
class Identity:
    """A person. ``texture_seed`` feeds the patterns of skin, strands of hair and cloth."""

    shape: FaceShape
    voice: Voice
    skin: Color
    blush: float
    freckles: float
    age: float  # 0 young, 1 lined
    gloss: float
    lips: Color
    iris: Color
    hair: Color
    hair_style: str
    hair_volume: float
    parting: float  # -1 left to 1 right
    beard: str
    glasses: str
    frame: Color  # of the glasses
    cloth: Color
    collar: str  # round, v, shirt
    texture_seed: int


def make_identity(seed: int) -> Identity:
    """The person of that seed."""
    rng = np.random.default_rng([seed, 1])
    heavy = rng.beta(1.6, 1.6)  # 0 a light build and high voice, 1 a heavy build and low voice
    age = rng.beta(1.2, 2.0)
    tone = rng.uniform(0, len(_SKIN_TONES) - 1)
    skin = _jitter(rng, _between(_SKIN_TONES, tone), 0.010)
    old = age > 0.62 and rng.random() < 0.7
    darkest = 3 if tone > 4 else 7
    hair = _jitter(rng, _HAIR_TONES[7 + rng.integers(2) if old else rng.integers(darkest)], 0.02)
    style = rng.choice(HAIR_STYLES, p=_normalised(_lerp(_STYLES_LIGHT, _STYLES_HEAVY, heavy)))
    beard = rng.choice(BEARDS, p=(0.35, 0.25, 0.08, 0.12, 0.20)) if heavy > 0.55 else "none"
    made_up = heavy < 0.45 and rng.random() < 0.5
    return Identity(
        shape=_make_shape(rng, heavy, tone),
        voice=_make_voice(rng, heavy),
        skin=skin,
        blush=rng.uniform(0.2, 1.0),
        freckles=rng.uniform(0.4, 1.0) if tone < 2 and rng.random() < 0.3 else 0.0,
        age=age,
        gloss=rng.uniform(0.4, 1.0),
        lips=_lip_color(rng, skin, made_up),
        iris=_jitter(rng, _IRIS_TONES[rng.integers(2) if tone > 3.2 else rng.integers(len(_IRIS_TONES))], 0.03),
        hair=hair,
        hair_style=str(style),
        hair_volume=rng.uniform(0.7, 1.3),
        parting=rng.uniform(-1, 1),
        beard=str(beard),
        glasses=str(rng.choice(GLASSES, p=(0.68, 0.12, 0.12, 0.08))),
        frame=_jitter(rng, ((0.08, 0.08, 0.09), (0.35, 0.20, 0.12), (0.55, 0.50, 0.42))[rng.integers(3)], 0.03),
        cloth=tuple(rng.uniform(0.08, 0.85, 3) * 0.6 + rng.uniform(0.05, 0.8) * 0.4),
        collar=str(rng.choice(("round", "v", "shirt"))),
        texture_seed=int(rng.integers(1 << 31)),
    )


def _make_shape(rng: np.random.Generator, heavy: float, tone: float) -> FaceShape:
    def around(middle: float, spread: float) -> float:
        return float(middle + spread * np.clip(rng.standard_normal(), -1.8, 1.8))

    cheek = around(1.05, 0.035)
    full_lips = 0.007 * (tone - 3)  # darker skin tones get slightly fuller lips in this palette
    chin_y = around(1.72 + 0.06 * heavy, 0.05)
    nose_y = around(0.70, 0.03)
    return FaceShape(
        cheek=cheek,
        jaw=cheek * around(0.85 + 0.06 * heavy, 0.025),
        chin=around(0.27 + 0.10 * heavy, 0.03),
        chin_y=chin_y,
        crown_y=around(-1.62, 0.05),
        eye_width=around(0.48, 0.018),
        eye_height=around(0.205 - 0.02 * heavy, 0.015),
        eye_tilt=around(0.02, 0.02),
        brow_y=around(-0.36 + 0.04 * heavy, 0.025),
        brow_arch=around(0.07 - 0.03 * heavy, 0.015),
        brow_thickness=around(0.065 + 0.04 * heavy, 0.012),
        nose_y=nose_y,
        nose_half=around(0.29 + 0.012 * tone, 0.02),
        nose_height=around(0.36, 0.04),
        mouth_y=nose_y + (chin_y - nose_y) * around(0.345, 0.012),
        mouth_half=around(0.405, 0.022),
        upper_lip=max(0.05, around(0.089 - 0.02 * heavy, 0.010) + full_lips),
        lower_lip=max(0.08, around(0.129 - 0.02 * heavy, 0.012) + full_lips),
        smile=around(0.012, 0.012),
        max_opening=around(0.43, 0.022),
    )


def _make_voice(rng: np.random.Generator, heavy: float) -> Voice:
    return Voice(
        pitch=float(225 * 2 ** (-heavy) * 2 ** rng.normal(0, 0.08)),
        tract=float(1.17 - 0.17 * heavy + rng.normal(0, 0.025)),
        breath=float(rng.uniform(0.05, 0.45)),
        rate=float(rng.uniform(0.95, 1.30)),
        articulation=float(rng.uniform(0.95, 1.12)),
    )


def _lip_color(rng: np.random.Generator, skin: Color, made_up: bool) -> Color:
    natural = np.array(skin) * (0.80, 0.60, 0.62) + (0.17, 0.09, 0.10)
    if made_up:
        stick = np.array(((0.72, 0.16, 0.20), (0.62, 0.20, 0.30), (0.80, 0.36, 0.36))[rng.integers(3)])
        natural = natural + (stick - natural) * rng.uniform(0.4, 0.8)
    return _jitter(rng, tuple(natural), 0.02)


def _between(palette: tuple[Color, ...], position: float) -> Color:
    low = int(position)
    high = min(low + 1, len(palette) - 1)
    return tuple(_lerp(palette[low], palette[high], position - low))


def _lerp(a: tuple, b: tuple, t: float) -> np.ndarray:
    return np.asarray(a) * (1 - t) + np.asarray(b) * t


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


def _jitter(rng: np.random.Generator, color: Color, amount: float) -> Color:
    red, green, blue = np.clip(np.asarray(color) + rng.normal(0, amount, 3), 0.02, 0.98)
    return float(red), float(green), float(blue)
