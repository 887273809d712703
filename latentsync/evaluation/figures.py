"""The figures of an evaluation, in one table: what is better, what each can tell, what it needs, how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from operator import attrgetter
from typing import Any

import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.evaluation import crops, sync
from latentsync.evaluation.crops import Comparison, FaceCrops
from latentsync.evaluation.faces import FacePath
from latentsync.evaluation.missing import Missing, attempt
from latentsync.evaluation.networks import EvaluationNetworks
from latentsync.evaluation.recordings import Recording, WindowJoins
from latentsync.evaluation.settings import EvaluationSettings
from latentsync.evaluation.sync import Mouth, MouthPair
from latentsync.metrics.drift import Lag
from latentsync.metrics.stable_sync import SyncFit
from latentsync.types import SyncScore

Value = float | Missing
Features = np.ndarray | Missing

DOES_NOT_APPLY = "does not apply"  # how reasons begin that are no fault of anybody
UNUSABLE = "needs files that are missing or cannot be used, see the other figures"
NO_FEATURES = "no face, or no file"


class Premise(Enum):
    """What a figure presupposes, beyond its needs, to mean anything."""

    OTHER_WORDS = auto()  # the source says something else than the truth
    TARGET = auto()  # the truth is the very video that should come out
    SAME_PERSON = auto()  # the row shows whom its frames are compared with


@dataclass(frozen=True, slots=True)
class RowInputs:
    """What the figures of one row of a clip are computed from.

    ``audio`` (n,) float32 is the row's own, ``expected_audio`` what should be spoken. ``audio_lag`` s and ``video_lag``
    frames: against the expected audio and the dubbed video. ``crops`` are compared with those of the reference row in
    ``comparison``, and with those of the dubbed video, ``source_crops``. ``place``: where faces are cut out. ``mouth``
    is beside the truth's, ``source_mouth`` that of the source. ``joins``: of the windows of the result, for every row,
    if they are known. ``unmet``: reasons why some figures do not apply.
    """

    settings: EvaluationSettings
    networks: EvaluationNetworks
    recording: Recording
    audio: np.ndarray | Missing
    expected_audio: np.ndarray | Missing
    audio_lag: Lag | Missing
    video_lag: Lag | Missing
    stable_sync: SyncFit | Missing
    published_sync: SyncScore | Missing
    face: FacePath | Missing
    place: FacePath | Missing
    mouth: MouthPair | Missing
    source_mouth: Mouth | Missing
    crops: FaceCrops | Missing
    source_crops: FaceCrops | Missing
    comparison: Comparison | Missing
    joins: WindowJoins | Missing | None
    is_reference: bool
    unmet: Mapping[Premise, str]


@dataclass(frozen=True, slots=True)
class Figure:
    """``better``: 'higher', 'lower', or the value that is best. ``tells``: one sentence. ``needs``: attributes of
    ``RowInputs``, which ``compute`` takes in that order; it may raise named errors.

    ``if_failed``: what a clip that could not be scored counts as in the second mean; None where no such value is
    natural. ``of_itself``: what a row scores that is its own reference. ``of_the_face``: nothing can stand in where
    the face of the row is not found, and that is the reason whatever else is missing.
    """

    name: str
    title: str
    unit: str
    better: str | float
    tells: str
    needs: tuple[str, ...]
    compute: Callable[..., Any]
    if_failed: float | None = None
    of_itself: float | None = None
    premise: Premise | None = None
    of_the_face: bool = False

    def badness(self, value: float) -> float:
        """Larger is worse."""
        if isinstance(self.better, str):
            return -value if self.better == "higher" else value
        return abs(value - self.better)

    @property
    def arrow(self) -> str:
        """For tables."""
        return {"higher": "↑", "lower": "↓"}.get(str(self.better), f"→ {self.better:g}" if self.is_target else "")

    @property
    def is_target(self) -> bool:
        """Whether a certain value is best."""
        return not isinstance(self.better, str)

    def value(self, inputs: RowInputs) -> Value:
        """Of one row, as a number or with the reason why there is none."""
        found = self._compute(inputs)
        if isinstance(found, Missing):
            lost = inputs.mouth.reason if self.of_the_face and isinstance(inputs.mouth, Missing) else ""
            return Missing(lost or found.reason or self._unmet(inputs) or UNUSABLE)
        return Missing("not a number") if np.isnan(found) else found

    def features(self, inputs: RowInputs) -> Features:
        """Of one row, (n, D) float32, for figures that only a set of clips has."""
        found = self._compute(inputs)
        return Missing(found.reason or NO_FEATURES) if isinstance(found, Missing) else found

    def _compute(self, inputs: RowInputs) -> Any:
        needs = [attrgetter(name)(inputs) for name in self.needs]
        if missing := next((need for need in needs if isinstance(need, Missing)), None):
            return missing
        if reason := self._unmet(inputs):
            return Missing(reason)
        if inputs.is_reference and self.of_itself is not None:
            return self.of_itself
        return attempt(self.compute, *needs)

    def _unmet(self, inputs: RowInputs) -> str:
        return "" if self.premise is None else inputs.unmet.get(self.premise, "")


# fmt: off
_TABLE = (
    Figure("lse_c", "LSE-C", "", "higher",
           "Confidence of SyncNet v2. Exceeds real speech when it is trained for: read it next to the ground truth, "
           "never alone.",
           ("published_sync",), lambda score: score.confidence, if_failed=0.0),
    Figure("lse_d", "LSE-D", "", "lower", "Distance of lips and audio to SyncNet v2; gamed in the same way.",
           ("published_sync",), lambda score: score.distance),
    Figure("av_offset", "A/V offset", "frames", 0.0,
           "Shift of the audio that SyncNet v2 likes best; positive: the audio comes too early. Says nothing where the "
           "confidence is low.",
           ("published_sync",), lambda score: float(score.offset_frames)),
    Figure("stablesyncnet_cosine", "StableSyncNet cosine", "", "higher",
           "Mean cosine of lips and audio where they are, by the network that also supervises training: it favours "
           "what it trained.",
           ("stable_sync",), lambda fit: fit.cosine, if_failed=0.0),
    Figure("stablesyncnet_confidence", "StableSyncNet confidence", "", "higher",
           "Cosine at the best shift less the median over shifts; near 0 nothing fits anywhere.",
           ("stable_sync",), lambda fit: fit.offset.confidence, if_failed=0.0),
    Figure("stablesyncnet_offset", "StableSyncNet offset", "frames", 0.0,
           "Shift that this network likes best; positive: the audio comes too early.",
           ("stable_sync",), lambda fit: float(-fit.offset.frames)),
    Figure("faces", "frames with the face", "share", "higher",
           "Share of the frames in which the detector finds the face that is scored.",
           ("face",), lambda face: face.share, if_failed=0.0, of_the_face=True),
    Figure("lmd", "LMD", "px at 256", "lower",
           "Distance of the mouth's landmarks from the truth's. Blind to teeth, tongue and blur.",
           ("mouth",), sync.landmark_distance, premise=Premise.TARGET, of_the_face=True),
    Figure("opening_correlation", "mouth opening, correlation", "", "higher",
           "Does the mouth open and close when the true one does? Blind to how far.",
           ("mouth",), sync.opening_correlation, if_failed=0.0, of_the_face=True),
    Figure("opening_lag", "mouth opening, lag", "frames", 0.0, "Positive: the mouth comes late.",
           ("mouth",), sync.opening_lag, of_the_face=True),
    Figure("leak", "leak of the source's mouth", "", 0.0,
           "Correlation with that part of the source's opening which the new audio does not ask for. Chance alone "
           "gives 0.1 to 0.2 in a short clip.",
           ("mouth", "source_mouth"), sync.opening_leak, premise=Premise.OTHER_WORDS, of_the_face=True),
    Figure("source_correlation", "correlation with the source's mouth", "", 0.0,
           "The plain correlation; contains what both sentences have in common.",
           ("mouth", "source_mouth"), sync.source_correlation, premise=Premise.OTHER_WORDS, of_the_face=True),
    Figure("silence_movement", "movement in silence", "of speech", "lower",
           "Variance of the opening in silence over that in speech. Landmark noise alone gives more than 0.",
           ("mouth",), sync.silence_movement, of_the_face=True),
    Figure("psnr_inside", "PSNR inside", "dB", "higher",
           "Pixels inside the mask against the truth; rewards blur over a sharp mouth that is a pixel off.",
           ("comparison", "networks.generated"), crops.psnr, 0.0, float("inf"), Premise.SAME_PERSON),
    Figure("psnr_outside", "PSNR outside", "dB", "higher",
           "The rest of the face square: what pasting and encoding cost. Infinite for equal images.",
           ("comparison", "networks.keep_mask"), crops.psnr, 0.0, float("inf"), Premise.SAME_PERSON),
    Figure("ssim_inside", "SSIM inside", "", "higher", "Structure inside the mask; the same preference.",
           ("comparison", "networks.generated"), crops.ssim, 0.0, 1.0, Premise.SAME_PERSON),
    Figure("ssim_outside", "SSIM outside", "", "higher", "Structure of the rest of the face square.",
           ("comparison", "networks.keep_mask"), crops.ssim, 0.0, 1.0, Premise.SAME_PERSON),
    Figure("lpips_inside", "LPIPS inside", "", "lower",
           "Perceptual distance from differences inside the mask; sees blur.",
           ("crops", "networks.lpips", "comparison", "networks.generated"),
           lambda _, *needs: crops.lpips(*needs), None, 0.0, Premise.SAME_PERSON),
    Figure("lpips_outside", "LPIPS outside", "", "lower", "Perceptual distance from differences outside it.",
           ("crops", "networks.lpips", "comparison", "networks.keep_mask"),
           lambda _, *needs: crops.lpips(*needs), None, 0.0, Premise.SAME_PERSON),
    Figure("temporal_error", "temporal error", "grey levels", "lower",
           "Difference of the changes from frame to frame inside the mask: flicker and missing movement.",
           ("comparison", "networks.keep_mask"), crops.temporal_error, None, 0.0, Premise.SAME_PERSON),
    Figure("flicker", "flicker", "grey levels", "lower",
           "Change from frame to frame inside the mask while the audio is silent. The truth's own is the floor, not 0.",
           ("crops", "expected_audio", "networks.keep_mask"), crops.flicker),
    Figure("sharpness", "sharpness of the mouth", "of the source's", 1.0,
           "Mouth over cheeks, relative to the source. Below 1 softer, above 1 ringing or noise.",
           ("crops", "source_crops", "networks.keep_mask", "settings.stride"), crops.sharpness,
           premise=Premise.SAME_PERSON, of_the_face=True),
    Figure("seam", "seam", "ΔE2000", "lower", "Color step across the border of the mask; 1 can just be seen.",
           ("comparison", "networks.keep_mask"), crops.seam, None, 0.0, Premise.SAME_PERSON),
    Figure("hyperiqa", "hyperIQA", "0 to 100", "higher",
           "Quality as people rate photographs; blind to identity and to wrong teeth.",
           ("crops", "networks.hyperiqa"), crops.quality, if_failed=0.0),
    Figure("csim", "CSIM", "", "higher", "Same person? Most of the face is not generated, so near 1 is usual.",
           ("crops", "networks.csim", "comparison", "settings.stride"),
           lambda _, *needs: crops.csim(*needs), None, 1.0, Premise.SAME_PERSON, of_the_face=True),
    Figure("length", "length of the video", "s", 0.0, "Longer (+) or shorter (-) than the audio it should show.",
           ("recording.seconds", "expected_audio"), lambda seconds, audio: seconds - len(audio) / AUDIO_RATE),
    Figure("sound_length", "length of the audio", "s", 0.0, "Longer (+) or shorter (-) than the video.",
           ("recording.seconds", "audio"), lambda seconds, audio: len(audio) / AUDIO_RATE - seconds),
    Figure("sound_lag", "lag of the audio", "ms", 0.0, "How late the given audio begins in the result.",
           ("audio_lag",), lambda lag: 1000 * lag.start),
    Figure("sound_drift", "drift of the audio", "ms", 0.0, "How much later still it is at the end.",
           ("audio_lag",), lambda lag: 1000 * lag.drift),
    Figure("picture_lag", "lag of the video", "frames", 0.0,
           "How late the head moves, against the video that was dubbed.",
           ("video_lag",), lambda lag: lag.start),
    Figure("picture_drift", "drift of the video", "frames", 0.0, "How much later still at the end.",
           ("video_lag",), lambda lag: lag.drift),
    Figure("lip_color", "color of the lips", "ΔE2000", "lower",
           "Mean color of the lips against the truth's, or the source's own where the words differ; below 2 is good.",
           ("comparison",), crops.lips, None, 0.0, Premise.SAME_PERSON, of_the_face=True),
    Figure("smudge", "smudge", "grey levels", 0.0,
           "Change of neck, hair and background inside the mask, less what encoding changes beside it.",
           ("comparison", "networks.keep_mask"), crops.smudges, None, 0.0, Premise.SAME_PERSON, of_the_face=True),
    Figure("join_ratio", "joins of windows", "of inside", 1.0,
           "Change from frame to frame where windows meet, over that inside them. The truth's own is the floor.",
           ("crops", "networks.keep_mask", "settings.join_period", "joins"), crops.joins),
)
_SET_TABLE = (
    Figure("fid", "FID", "", "lower",
           "Distance of two clouds of faces. Compares only at equal numbers of images; says nothing of a single clip "
           "or of sync.",
           ("crops", "networks.inception", "settings.stride"), crops.fid_features),
    Figure("fvd", "FVD", "", "lower",
           "The same for 0.6 s of movement. Blind to whether lips and audio agree.",
           ("place", "networks.i3d", "recording", "settings"), crops.fvd_features),
)
# fmt: on

FIGURES: dict[str, Figure] = {figure.name: figure for figure in _TABLE}
SET_FIGURES: dict[str, Figure] = {figure.name: figure for figure in _SET_TABLE}  # Fréchet distances of their features
