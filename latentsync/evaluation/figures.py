"""The figures of an evaluation: their names, what is better, and what each can tell."""

from __future__ import annotations

from dataclasses import dataclass

DOES_NOT_APPLY = "does not apply"  # how reasons begin that are no fault of anybody


@dataclass(frozen=True, slots=True)
class FigureInfo:
    """``better``: 'higher', 'lower', or the value that is best. ``if_failed``: what a clip that could not be scored
    counts as in the second mean; None where no such value is natural. ``tells``: one sentence."""

    title: str
    unit: str
    better: str | float
    tells: str
    if_failed: float | None = None

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


FIGURES: dict[str, FigureInfo] = {
    "lse_c": FigureInfo("LSE-C", "", "higher", "Confidence of SyncNet v2. Exceeds real speech when it is trained for: "
                        "read it next to the ground truth, never alone.", 0.0),
    "lse_d": FigureInfo("LSE-D", "", "lower", "Distance of lips and sound to SyncNet v2; gamed in the same way."),
    "av_offset": FigureInfo("A/V offset", "frames", 0.0, "Shift of the sound that SyncNet v2 likes best; positive: the "
                            "sound comes too early. Says nothing where the confidence is low."),
    "stablesyncnet_cosine": FigureInfo("StableSyncNet cosine", "", "higher", "Mean cosine of lips and sound where they "
                                       "are, by the network that also supervises training: it favours what it "
                                       "trained.", 0.0),
    "stablesyncnet_confidence": FigureInfo("StableSyncNet confidence", "", "higher", "Cosine at the best shift less "
                                           "the median over shifts; near 0 nothing fits anywhere.", 0.0),
    "stablesyncnet_offset": FigureInfo("StableSyncNet offset", "frames", 0.0, "Shift that this network likes best; "
                                       "positive: the sound comes too early."),
    "faces": FigureInfo("frames with the face", "share", "higher", "Share of the frames in which the detector finds "
                        "the face that is judged.", 0.0),
    "lmd": FigureInfo("LMD", "px at 256", "lower", "Distance of the mouth's landmarks from the truth's. Blind to "
                      "teeth, tongue and blur."),
    "opening_correlation": FigureInfo("mouth opening, correlation", "", "higher", "Does the mouth open and close when "
                                      "the true one does? Blind to how far.", 0.0),
    "opening_lag": FigureInfo("mouth opening, lag", "frames", 0.0, "Positive: the mouth comes late."),
    "leak": FigureInfo("leak of the source's mouth", "", 0.0, "Correlation with that part of the source's opening "
                       "which the new sound does not ask for. Chance alone gives 0.1 to 0.2 in a short clip."),
    "source_correlation": FigureInfo("correlation with the source's mouth", "", 0.0, "The plain correlation; contains "
                                     "what both sentences have in common."),
    "silence_movement": FigureInfo("movement in silence", "of speech", "lower", "Variance of the opening in silence "
                                   "over that in speech. Landmark noise alone gives more than 0."),
    "psnr_inside": FigureInfo("PSNR inside", "dB", "higher", "Pixels inside the mask against the truth; rewards blur "
                              "over a sharp mouth that is a pixel off.", 0.0),
    "psnr_outside": FigureInfo("PSNR outside", "dB", "higher", "The rest of the face square: what pasting and encoding "
                               "cost. Infinite for equal pictures.", 0.0),
    "ssim_inside": FigureInfo("SSIM inside", "", "higher", "Structure inside the mask; the same preference.", 0.0),
    "ssim_outside": FigureInfo("SSIM outside", "", "higher", "Structure of the rest of the face square.", 0.0),
    "lpips_inside": FigureInfo("LPIPS inside", "", "lower", "Perceptual distance from differences inside the mask; "
                               "sees blur."),
    "lpips_outside": FigureInfo("LPIPS outside", "", "lower", "Perceptual distance from differences outside it."),
    "temporal_error": FigureInfo("temporal error", "grey levels", "lower", "Difference of the changes from frame to "
                                 "frame inside the mask: flicker and missing movement."),
    "flicker": FigureInfo("flicker", "grey levels", "lower", "Change from frame to frame inside the mask while the "
                          "sound is silent. The truth's own is the floor, not 0."),
    "sharpness": FigureInfo("sharpness of the mouth", "of the source's", 1.0, "Mouth over cheeks, relative to the "
                            "source. Below 1 softer, above 1 ringing or noise."),
    "seam": FigureInfo("seam", "ΔE2000", "lower", "Color step across the border of the mask; 1 can just be seen."),
    "hyperiqa": FigureInfo("hyperIQA", "0 to 100", "higher", "Quality as people rate photographs; blind to identity "
                           "and to wrong teeth.", 0.0),
    "csim": FigureInfo("CSIM", "", "higher", "Same person? Most of the face is not generated, so near 1 is usual."),
    "length": FigureInfo("length of the picture", "s", 0.0, "Longer (+) or shorter (-) than the sound it should show."),
    "sound_length": FigureInfo("length of the sound", "s", 0.0, "Longer (+) or shorter (-) than the picture."),
    "sound_lag": FigureInfo("lag of the sound", "ms", 0.0, "How late the given sound begins in the result."),
    "sound_drift": FigureInfo("drift of the sound", "ms", 0.0, "How much later still it is at the end."),
    "picture_lag": FigureInfo("lag of the picture", "frames", 0.0, "How late the head moves, against the video that "
                              "was dubbed."),
    "picture_drift": FigureInfo("drift of the picture", "frames", 0.0, "How much later still at the end."),
}  # fmt: skip

SET_FIGURES: dict[str, FigureInfo] = {
    "fid": FigureInfo("FID", "", "lower", "Distance of two clouds of faces. Compares only at equal numbers of "
                      "pictures; says nothing of a single clip or of sync."),
    "fvd": FigureInfo("FVD", "", "lower", "The same for 0.6 s of movement. Blind to whether lips and sound agree."),
}  # fmt: skip
