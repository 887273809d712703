"""Whether the latents move as the true ones do.

B clips · F frames · h, w latent cells
"""

from __future__ import annotations

from torch import Tensor


def movement_loss(latents: Tensor, target: Tensor, keep_mask: Tensor) -> Tensor:
    """(B,) mean absolute error of the changes from frame to frame of ``latents`` (B, 4, F, h, w) against those of
    ``target``, in the cells that ``keep_mask`` (B, 1, F, h, w; 1 = keep, 0 = generate) leaves to be generated.

    An error that stays the same costs nothing, so this leaves the picture to the other losses; noise of ``s`` in every
    frame costs more the more its sign changes. It needs no network, as TREPA does (arXiv 2412.09262, eq. 7), and so no
    pixels. Not in the paper. Raises ``ValueError`` for a single frame.
    """
    if latents.shape[2] < 2:
        raise ValueError("the movement of a single frame")
    error = (latents.float() - target.float()).diff(dim=2).abs()
    hole = (1 - keep_mask[:, :, 1:].float()).expand_as(error)
    return (hole * error).flatten(1).sum(1) / hole.flatten(1).sum(1)
