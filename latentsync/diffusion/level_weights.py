"""How much a loss on the one-step estimate counts at each noise level.

The estimate of a very noisy window is a blur, and what a face loss says of a blur teaches little.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from latentsync.errors import ConfigError

LevelWeighting = Literal["uniform", "alpha_bar", "min_snr"]

_MIN_SNR_GAMMA = 5.0  # signal-to-noise ratio above which no level gains any more (Hang et al. 2023)


def level_weights(alpha_bars: Tensor, weighting: LevelWeighting) -> Tensor:
    """Weights (T,) of the T training steps whose remaining signal is ``alpha_bars`` (T,); their mean is 1.

    - ``uniform``: as published, every step the same;
    - ``alpha_bar``: by the share of signal that is left;
    - ``min_snr``: by the signal-to-noise ratio up to 5 (Hang et al. 2023, arXiv 2303.09556, for a prediction of x0).

    Raises ``ConfigError`` for any other name.
    """
    if weighting == "uniform":
        weights = torch.ones_like(alpha_bars)
    elif weighting == "alpha_bar":
        weights = alpha_bars
    elif weighting == "min_snr":
        weights = (alpha_bars / (1 - alpha_bars)).clamp(max=_MIN_SNR_GAMMA)
    else:
        raise ConfigError(
            f"There is no weighting of noise levels '{weighting}'.",
            remedy=f"Choose one of {', '.join(get_args(LevelWeighting))}.",
        )
    return weights / weights.mean()
