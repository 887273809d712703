"""What a user may choose for one dub, apart from the files."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.presets import DEFAULT_SEED
from latentsync.inference.timeline import LengthMode


@dataclass(frozen=True)
class SyncOptions:
    """Settings of one run of the pipeline. Raises ``ConfigError`` for values that make no sense.

    ``face``: whom to follow, in the syntax of ``face.selection``. ``geometry``: 'default', or the release whose
    alignment, windows and paste are to be reproduced ('1.0', '1.5', '1.6'). ``batch``: windows generated together.
    ``ramp``: frames over which the new mouth fades beside a gap. ``check_output``: refuse what is no face. ``excerpt``:
    only a stretch of the result, with the sound that belongs to it.
    """

    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    seed: int = DEFAULT_SEED
    length: LengthMode = LengthMode.PINGPONG
    face: str = "largest"
    geometry: str = "default"
    batch: int = 1
    ramp: int = 3
    check_output: bool = True
    excerpt: Excerpt | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"A batch of {self.batch} windows makes no sense.", remedy="Give 1 or more.")
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"A seed of {self.seed} makes no sense.", remedy="Give a number from 0 to 2^64 - 1.")
        if self.ramp < 0:
            raise ConfigError(f"A ramp of {self.ramp} frames makes no sense.", remedy="Give 0 or more.")

    @property
    def published(self) -> bool:
        """Whether a release is to be reproduced rather than improved on."""
        return self.geometry != "default"
