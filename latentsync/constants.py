"""Rates and sizes that more than one package relies on, each with its unit.

Ratios are derived by exact division, so a pair of values that does not fit fails at import.
"""

from fractions import Fraction

VERSION = "0.1.0"  # of this program; pyproject.toml reads it here


def exact_div(numerator: int, denominator: int) -> int:
    """Integer quotient; raises ``ValueError`` when the division leaves a remainder."""
    quotient, remainder = divmod(numerator, denominator)
    if remainder:
        raise ValueError(f"{numerator} is not a multiple of {denominator}")
    return quotient


# Audio
AUDIO_RATE = 16_000  # samples per second of every network here

# Whisper features
WHISPER_HOP = 160  # samples per log-mel frame
WHISPER_MEL_RATE = exact_div(AUDIO_RATE, WHISPER_HOP)  # 100 log-mel frames per second
FEATURE_RATE = exact_div(WHISPER_MEL_RATE, 2)  # 50 encoder positions per second (the stem halves)
WHISPER_SECONDS = 30  # length of the encoder's input window
WHISPER_MEL_FRAMES = WHISPER_SECONDS * WHISPER_MEL_RATE  # 3000
WHISPER_POSITIONS = WHISPER_SECONDS * FEATURE_RATE  # 1500
FEATURES_BEFORE = 4  # positions before a video frame's own that the frame attends to
FEATURES_AFTER = 6  # positions from its own onwards
FEATURES_PER_FRAME = FEATURES_BEFORE + FEATURES_AFTER  # 10 positions = 200 ms

# SyncNet mel spectrogram
SYNCNET_MEL_HOP = 200  # samples per mel frame
SYNCNET_MEL_RATE = exact_div(AUDIO_RATE, SYNCNET_MEL_HOP)  # 80 mel frames per second
SYNCNET_MEL_BANDS = 80

# Images
MODEL_FPS = Fraction(25)  # frame rate that the published networks were trained at
WINDOW_FRAMES = 16  # frames that the U-Net generates together (F)
LATENT_DOWNSCALE = 8  # pixels per latent cell and axis
LATENT_CHANNELS = 4
