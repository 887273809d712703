"""What a result shows where nobody speaks, and where the user wants it left alone.

The driving audio says when somebody speaks (``audio.voice_activity``). A pause is *quiet* from ``AFTER`` its begin to
``BEFORE`` its end: the mouth needs that long to come to rest, and it opens before a syllable can be heard. So nothing
that is done to a quiet stretch, its ramps among it, touches the first or the last syllable beside the pause.

| ``--silence`` | in a quiet stretch |
|---|---|
| generate | nothing: the network makes of it what it does |
| close | the network is given the features of silence itself instead of those of breath, noise or a voice far away; over ``EASING`` they take the place of those of the audio, and give it back |
| original | the frames of the source pass through; only where the source is quiet itself, which its own audio says |

``--skip`` names stretches of the result whose frames pass through, whatever is said in them. Beside all frames that
pass through the mouth fades (``windows.ramp_at_gaps``): for a skipped stretch outside it, for a quiet one inside the
pause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np

from latentsync.audio.voice_activity import Spans, VoiceActivity, find_speech
from latentsync.constants import AUDIO_RATE
from latentsync.errors import ConfigError
from latentsync.face.selection import TargetFrame
from latentsync.inference.stretches import Stretch, Stretches
from latentsync.types import AudioWindows, Frame

AFTER, BEFORE = Fraction(1, 5), Fraction(1, 5)  # s of a pause in which the mouth comes to rest, and opens again
EASING = Fraction(3, 25)  # s over which the features of silence come and go
SHORTEST = Fraction(1, 5)  # s of quiet, ramps aside, below which a pause is left as it is
SKIPPED = "left alone, as asked for"
AS_IN_SOURCE = "nobody speaks"


class SilenceMode(StrEnum):
    """What a quiet stretch shows; see the table above."""

    GENERATE = "generate"
    CLOSE = "close"
    ORIGINAL = "original"
