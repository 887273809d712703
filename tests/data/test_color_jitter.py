"""Another light: the same for all pictures of a window, repeatable, and none at strength 0."""

from __future__ import annotations

import numpy as np
import torch

from latentsync.data.color_jitter import jitter_colors

PICTURES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 6, 8), dtype=np.uint8))


def test_no_strength_changes_nothing():
    assert torch.equal(jitter_colors(PICTURES, np.random.default_rng(1), 0.0), PICTURES)


def test_every_channel_is_relit_alike_in_all_pictures_and_order_is_kept():
    lit = jitter_colors(PICTURES, np.random.default_rng(1), 0.3)
    assert lit.shape == PICTURES.shape and lit.dtype == torch.uint8
    for channel in range(3):
        before, after = PICTURES[:, channel].flatten(), lit[:, channel].flatten()
        table = {}
        for old, new in zip(before.tolist(), after.tolist(), strict=True):
            assert table.setdefault(old, new) == new
        values = [table[old] for old in sorted(table)]
        assert values == sorted(values)
    assert not torch.equal(lit[:, 0], jitter_colors(PICTURES[:, [0, 0, 0]], np.random.default_rng(1), 0.3)[:, 1])


def test_draws_repeat_and_spread_as_asked():
    grey = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    draws = [jitter_colors(grey, np.random.default_rng(seed), 0.2).float().mean() / 100 for seed in range(400)]
    assert torch.equal(
        jitter_colors(grey, np.random.default_rng(5), 0.2), jitter_colors(grey, np.random.default_rng(5), 0.2)
    )
    logs = np.log(draws)
    # Gamma acts on 100 / 255, whose logarithm is -0.94; of the gain by channel three are averaged.
    expected = 0.2 * np.sqrt(1 + 0.94**2 + 0.25 / 3)
    assert abs(logs.mean()) < 0.05 and abs(logs.std() / expected - 1) < 0.15
