"""What a result shows where nobody speaks, and where the user wants it left alone.

The driving audio says when somebody speaks (``audio.voice_activity``). A pause is *quiet* from ``AFTER`` its begin to
``BEFORE`` its end: the mouth needs that long to come to rest, and it opens before a syllable can be heard. So nothing
that is done to a quiet stretch, its ramps among it, touches the first or the last syllable beside the pause.

| ``--silence`` | in a quiet stretch |
|---|---|
| generate | what the network makes of it |
| close | the same, with the features of silence itself in place of those of breath or noise, eased in and out |
| original | the frames of the source, where its own audio says that it is quiet too; elsewhere as with ``generate`` |

``--skip`` names stretches of the result whose frames pass through, whatever is said in them. Beside all frames that
pass through the mouth fades (``windows.ramp_at_gaps``): for a skipped stretch outside it, for a quiet one inside the
pause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from latentsync.audio.voice_activity import Spans, VoiceActivity, find_speech
from latentsync.constants import AUDIO_RATE
from latentsync.face.selection import TargetFrame
from latentsync.inference.options import SyncOptions
from latentsync.inference.stretches import SilenceMode, Stretch, Stretches
from latentsync.types import AudioWindows

AFTER, BEFORE = Fraction(1, 5), Fraction(1, 5)  # s of a pause in which the mouth comes to rest, and opens again
EASING = Fraction(3, 25)  # s over which the features of silence come and go
SHORTEST = Fraction(1, 5)  # s of quiet, ramps aside, below which a pause is left as it is
SKIPPED = "left alone, as asked for"
AS_IN_SOURCE = "nobody speaks"


@dataclass(frozen=True, slots=True)
class SpeechPlan:
    """Where a run of the network is not all that a result shows. Without arguments: nowhere.

    ``skipped``: the frames there pass through. ``quiet``: nobody speaks, and ``mode`` says what is shown. ``judge``:
    what found the pauses (``audio.voice_activity``), empty where none were looked for; ``notes`` are for the user.
    """

    skipped: Stretches = field(default_factory=Stretches)
    quiet: Stretches = field(default_factory=Stretches)
    mode: SilenceMode = SilenceMode.GENERATE
    judge: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of_run(cls, waveform: np.ndarray, options: SyncOptions, fps: Fraction) -> SpeechPlan:
        """For the driving audio (n,) float32 at 16 kHz and a result of about ``fps`` frames per second."""
        skipped = Stretches(options.skip)
        if options.silence is SilenceMode.GENERATE:
            return cls(skipped)
        activity = find_speech(waveform)
        inside = options.ramp / fps if options.silence is SilenceMode.ORIGINAL else Fraction(0)  # the fading mouth
        pauses = activity.pauses(Fraction(len(waveform), AUDIO_RATE))
        notes = (activity.note,) if activity.note else ()
        return cls(skipped, quiet_stretches(pauses, inside), options.silence, activity.judge, notes)

    def where_source_rests(
        self, shown: Iterable[tuple[Fraction, Fraction]], source: VoiceActivity | None
    ) -> SpeechPlan:
        """The plan for ``original``: quiet is only where the source does not speak either.

        ``shown``: the time of each frame in the result, in order, and in the source; ``source``: when that speaks, None
        for one that never does.
        """
        if source is None:
            return self
        spoken = Stretches(Stretch(max(Fraction(0), start - BEFORE), stop + AFTER) for start, stop in source.speech)
        resting = Stretches(self._resting(shown, spoken))
        lost = sum(stretch.seconds for stretch in self.quiet.all) - sum(stretch.seconds for stretch in resting.all)
        notes = self.notes
        if lost > SHORTEST:
            notes += (f"in {float(lost):.1f} s of the pauses the source speaks itself; there the mouth is generated",)
        return replace(self, quiet=resting, notes=notes)

    def _resting(self, shown: Iterable[tuple[Fraction, Fraction]], spoken: Stretches) -> list[Stretch]:
        """The parts of quiet stretches whose frames come from a source that does not speak."""
        found: list[tuple[Fraction, Fraction]] = []
        since: Fraction | None = None  # the start of the part that the frame before lies in
        inside: Stretch | None = None  # the quiet stretch of the frame before
        for time, source_time in shown:
            quiet = self.quiet.at(time)
            rests = quiet is not None and spoken.at(source_time) is None
            if since is not None and inside is not None and (quiet is not inside or not rests):
                found.append((since, time if quiet is inside else inside.stop))
                since = None
            if quiet is not None and rests and since is None:
                since = time if quiet is inside else quiet.start
            inside = quiet
        if since is not None and inside is not None:
            found.append((since, inside.stop))
        return [Stretch(start, stop) for start, stop in found if stop - start >= SHORTEST]

    def applied(self, targets: Iterator[TargetFrame]) -> Iterator[TargetFrame]:
        """The targets; where a frame passes through there is no face to change."""
        for target in targets:
            reason = self.reason(target.frame.time)
            yield replace(target, face=None, reason=reason) if reason and target.face is not None else target

    def reason(self, time: Fraction) -> str:
        """Why the frame at ``time`` passes through, empty if it does not."""
        if self.skipped.at(time):
            return SKIPPED
        return AS_IN_SOURCE if self.mode is SilenceMode.ORIGINAL and self.quiet.at(time) else ""

    def eased(self, audio: AudioWindows, rest: Callable[[], AudioWindows]) -> AudioWindows:
        """What the network is given in place of ``audio``; ``rest`` makes the features of a second of silence."""
        if self.mode is not SilenceMode.CLOSE or not self.quiet.all:
            return audio
        return EasedAudio(audio, self.quiet, rest().window(Fraction(1, 2)))

    def share_passing(self, stretch: Stretch) -> Fraction:
        """Which share of ``stretch`` passes through, 0 to 1."""
        passing = [*self.skipped.all, *(self.quiet.all if self.mode is SilenceMode.ORIGINAL else ())]
        return Stretches(passing).seconds_within(stretch) / stretch.seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the report: seconds."""
        return {
            "mode": self.mode.value,
            "judge": self.judge,
            "quiet": [[float(each.start), float(each.stop)] for each in self.quiet.all],
            "skipped": [[float(each.start), float(each.stop)] for each in self.skipped.all],
        }


def quiet_stretches(pauses: Spans, inside: Fraction = Fraction(0)) -> Stretches:
    """What is left of ``pauses`` (seconds) when the mouth has had its time, and ``inside`` s more on both sides."""
    quiet = []
    for start, stop in pauses:
        first, last = start + AFTER + inside, stop - BEFORE - inside
        if last - first >= SHORTEST:
            quiet.append(Stretch(first, last))
    return Stretches(quiet)


class EasedAudio:
    """Audio conditioning (``types.AudioWindows``) that is that of silence in ``quiet`` stretches.

    ``rest`` (S, D) float32: the tokens of silence. They come and go over ``EASING`` inside the stretches; elsewhere the
    tokens of ``audio`` are untouched.
    """

    def __init__(self, audio: AudioWindows, quiet: Stretches, rest: np.ndarray) -> None:
        self.duration = audio.duration
        self._audio, self._quiet, self._rest = audio, quiet, rest

    def window(self, frame_time: Fraction) -> np.ndarray:
        """See ``types.AudioWindows.window``."""
        tokens = self._audio.window(frame_time)
        stretch = self._quiet.at(frame_time)
        if stretch is None:
            return tokens
        share = float(min(frame_time - stretch.start, stretch.stop - frame_time) / EASING)
        return self._rest if share >= 1 else tokens + np.float32(share) * (self._rest - tokens)
