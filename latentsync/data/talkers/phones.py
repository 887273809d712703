"""The speech sounds of the talkers: how each looks and how it sounds.

Formants are round figures of an adult man as any textbook of acoustic phonetics gives them; lip shapes follow the usual
visemes. Words are made of these sounds but belong to no language.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phone:
    """One speech sound. Mouth fields in [0, 1] as in ``geometry.Articulation``; frequencies in Hz."""

    kind: str  # vowel, glide, nasal, stop, fricative, rest
    duration: float  # s, at an ordinary rate
    opening: float
    spread: float = 0.0
    rounding: float = 0.0
    press: float = 0.0
    tuck: float = 0.0
    tongue: float = 0.0
    formants: tuple[float, float, float] = (500.0, 1500.0, 2500.0)
    voicing: float = 1.0  # of the glottal source
    noise: float = 0.0  # of the constriction
    noise_centre: float = 4000.0
    noise_width: float = 2000.0
    breath: float = 0.0  # noise from the glottis, through the formants
    firmness: float = 1.0  # weight of this opening against the neighbours' (coarticulation)


PHONES = {
    "sil": Phone("rest", 0.25, 0.0, voicing=0.0, firmness=5.0),
    # vowels
    "i": Phone("vowel", 0.11, 0.32, spread=1.0, formants=(285, 2250, 2950), firmness=2.2),
    "I": Phone("vowel", 0.09, 0.40, spread=0.5, formants=(400, 1950, 2550), firmness=2.2),
    "e": Phone("vowel", 0.11, 0.66, spread=0.7, formants=(540, 1840, 2500), firmness=2.2),
    "ae": Phone("vowel", 0.14, 0.95, spread=0.6, formants=(680, 1700, 2430), firmness=2.2),
    "a": Phone("vowel", 0.14, 1.00, formants=(760, 1150, 2450), firmness=2.2),
    "A": Phone("vowel", 0.11, 0.80, formants=(620, 1230, 2420), firmness=2.2),
    "O": Phone("vowel", 0.13, 0.86, rounding=0.55, formants=(570, 850, 2420), firmness=2.2),
    "o": Phone("vowel", 0.13, 0.62, rounding=0.85, formants=(450, 780, 2350), firmness=2.2),
    "U": Phone("vowel", 0.09, 0.38, rounding=0.6, formants=(440, 1020, 2240), firmness=2.2),
    "u": Phone("vowel", 0.12, 0.27, rounding=1.0, formants=(305, 830, 2200), firmness=2.2),
    "y": Phone("vowel", 0.11, 0.27, rounding=0.9, formants=(280, 1850, 2120), firmness=2.2),
    "@": Phone("vowel", 0.07, 0.52, formants=(500, 1450, 2450), firmness=0.7),
    # glides and liquids
    "w": Phone("glide", 0.07, 0.10, rounding=1.0, formants=(300, 650, 2200), voicing=0.7, firmness=2.0),
    "j": Phone("glide", 0.07, 0.20, spread=0.9, formants=(270, 2250, 3000), voicing=0.7, tongue=0.4),
    "r": Phone("glide", 0.08, 0.24, rounding=0.5, formants=(350, 1150, 1600), voicing=0.75, tongue=0.3),
    "l": Phone("glide", 0.07, 0.34, formants=(370, 1050, 2700), voicing=0.75, tongue=1.0),
    # nasals
    "m": Phone("nasal", 0.09, 0.0, press=0.55, formants=(250, 1050, 2200), voicing=0.42, firmness=18.0),
    "n": Phone("nasal", 0.08, 0.22, formants=(260, 1550, 2600), voicing=0.42, tongue=1.0, firmness=1.4),
    # stops: closed and silent (or humming), then a burst
    "p": Phone("stop", 0.10, 0.0, press=1.0, voicing=0.0, noise=0.8, noise_centre=900, noise_width=1200, firmness=18.0),
    "b": Phone("stop", 0.09, 0.0, press=0.9, voicing=0.16, noise=0.45, noise_centre=800, noise_width=1000,
               formants=(230, 900, 2200), firmness=18.0),
    "t": Phone("stop", 0.09, 0.18, voicing=0.0, noise=0.9, noise_centre=4800, noise_width=2500,
               tongue=1.0, firmness=1.6),
    "d": Phone("stop", 0.08, 0.20, voicing=0.16, noise=0.5, noise_centre=4200, noise_width=2500, tongue=1.0,
               formants=(250, 1700, 2600), firmness=1.4),
    "k": Phone("stop", 0.10, 0.28, voicing=0.0, noise=0.9, noise_centre=2000, noise_width=900),
    "g": Phone("stop", 0.08, 0.28, voicing=0.16, noise=0.5, noise_centre=1800, noise_width=900,
               formants=(250, 1900, 2300)),
    # fricatives
    "f": Phone("fricative", 0.11, 0.08, tuck=1.0, voicing=0.0, noise=0.26, noise_centre=5200,
               noise_width=6000, firmness=9.0),
    "v": Phone("fricative", 0.08, 0.09, tuck=0.9, voicing=0.4, noise=0.12, noise_centre=5000, noise_width=6000,
               formants=(260, 1100, 2200), firmness=8.0),
    "T": Phone("fricative", 0.10, 0.18, voicing=0.0, noise=0.20, noise_centre=6200, noise_width=4000,
               tongue=1.0, firmness=2.0),
    "s": Phone("fricative", 0.12, 0.11, spread=0.55, voicing=0.0, noise=0.75, noise_centre=6300, noise_width=1800,
               tongue=0.6, firmness=4.0),
    "z": Phone("fricative", 0.09, 0.12, spread=0.5, voicing=0.4, noise=0.40, noise_centre=6200, noise_width=1800,
               formants=(260, 1500, 2500), tongue=0.6, firmness=3.5),
    "S": Phone("fricative", 0.12, 0.17, rounding=0.65, voicing=0.0, noise=0.85, noise_centre=3100,
               noise_width=1300, firmness=3.0),
    "h": Phone("fricative", 0.07, 0.45, voicing=0.0, breath=0.55, formants=(550, 1500, 2500), firmness=0.2),
    # only real languages have these: no word of a drawn talker does, and what such talkers say depends on the above
    "N": Phone("nasal", 0.08, 0.30, formants=(280, 2100, 2700), voicing=0.42),
    "D": Phone("fricative", 0.06, 0.18, voicing=0.5, noise=0.06, noise_centre=6000, noise_width=4000,
               formants=(280, 1400, 2500), tongue=1.0, firmness=1.6),
    "Z": Phone("fricative", 0.08, 0.18, rounding=0.6, voicing=0.4, noise=0.4, noise_centre=3100, noise_width=1300,
               formants=(260, 1700, 2400), firmness=2.5),
    "x": Phone("fricative", 0.09, 0.32, voicing=0.0, noise=0.4, noise_centre=1700, noise_width=1000),
    "rr": Phone("glide", 0.06, 0.28, formants=(420, 1400, 2500), voicing=0.6, tongue=1.0),
}  # fmt: skip

VOWELS = tuple(name for name, phone in PHONES.items() if phone.kind == "vowel")
ONSETS = ("m", "p", "b", "f", "v", "w", "s", "S", "z", "t", "d", "n", "l", "r", "k", "g", "T", "h", "j")
CODAS = ("m", "n", "s", "t", "l", "k", "f", "p", "r", "z", "S")
