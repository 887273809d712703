"""A model for Cog (cog.yaml in the root): networks loaded once, files in, a file out."""

import secrets
import tempfile
from dataclasses import replace
from pathlib import Path as FilePath

from cog import BasePredictor, Input, Path

from latentsync.inference.options import DEFAULT_SEED
from latentsync.inference.timeline import SYNC_MODES
from latentsync.library import load


class Predictor(BasePredictor):
    """Makes the mouth in a video follow other audio."""

    def setup(self) -> None:
        """Load the networks, once for all predictions."""
        self.pipeline = load()

    def predict(
        self,
        video: Path = Input(description="Video of the person who is to speak"),
        audio: Path = Input(description="What is to be spoken"),
        sync_mode: str = Input(
            description="Where audio and video differ in length", choices=list(SYNC_MODES), default="bounce"
        ),
        face: str = Input(description="Whom to dub: largest, index:N, or X,Y@SECONDS", default="largest"),
        guidance_scale: float = Input(
            description="How strongly the mouth follows the audio; 0: as the weights need", default=0, ge=0, le=3
        ),
        inference_steps: int = Input(description="Denoising steps; 0: as the weights need", default=0, ge=0, le=100),
        seed: int = Input(description="-1: another every time", default=DEFAULT_SEED, ge=-1),
    ) -> Path:
        """Dub the video; raises the named errors of ``latentsync.errors``, whose text says what to do."""
        options = self.pipeline.options()
        sampler = replace(
            options.sampler,
            steps=inference_steps or options.sampler.steps,
            guidance_scale=guidance_scale or options.sampler.guidance_scale,
        )
        seed = seed if seed >= 0 else secrets.randbelow(2**32)
        chosen = replace(options, sampler=sampler, seed=seed, length=SYNC_MODES[sync_mode], face=face)
        output = FilePath(tempfile.mkdtemp()) / "dubbed.mp4"
        self.pipeline.dub(video, audio, output, options=chosen)
        return Path(output)
