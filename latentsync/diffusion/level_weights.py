"""The weight of a loss at each noise level.

The one-step estimate (``noise.estimate_clean``) of a very noisy window is a blur, and the gradient of a face loss on a
blur is of little use. The error of the noise is another matter: the same error is, at the last level of the published
schedule, one of 15 times its size in the estimate, and what a sampler takes from there is color and light.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from latentsync.errors import ConfigError

LevelWeighting = Literal["uniform", "alpha_bar", "min_snr", "velocity"]

_MIN_SNR_GAMMA = 5.0  # signal-to-noise ratio above which the weight does not grow (Hang et al. 2023)


def level_weights(alpha_bars: Tensor, weighting: LevelWeighting) -> Tensor:
    """Weights (T,) of the T training steps with ``alpha_bars`` (T,), the share of signal that is left; their mean is 1.

    - ``uniform``: as published, every step the same;
    - ``alpha_bar``: in proportion to alpha_bar;
    - ``min_snr``: in proportion to the signal-to-noise ratio, at most 5 (Hang et al. 2023, arXiv 2303.09556, for a
      prediction of x0);
    - ``velocity``: in proportion to 1 / alpha_bar, which makes an error of the noise count as one of the velocity does
      in a network that predicts that (Salimans and Ho 2022, arXiv 2202.00512, section 4). For the reconstruction loss.

    Raises ``ConfigError`` for any other name.
    """
    if weighting == "uniform":
        weights = torch.ones_like(alpha_bars)
    elif weighting == "alpha_bar":
        weights = alpha_bars
    elif weighting == "min_snr":
        weights = (alpha_bars / (1 - alpha_bars)).clamp(max=_MIN_SNR_GAMMA)
    elif weighting == "velocity":
        weights = 1 / alpha_bars
    else:
        raise ConfigError(
            f"There is no weighting of noise levels '{weighting}'.",
            remedy=f"Choose one of {', '.join(get_args(LevelWeighting))}.",
        )
    return weights / weights.mean()
