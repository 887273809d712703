"""The loss against the published numbers, and what is read off the cosines."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from latentsync.data.batches import SampleOrigin
from latentsync.models.syncnet import cosine_similarity
from latentsync.training.syncnet.objective import (
    SyncScores,
    all_pairs_loss,
    compare_all,
    contrastive_loss,
    guessing_loss,
    sync_loss,
)
from tests.golden import golden_arrays, relative_error


@pytest.mark.parametrize("name", ["16_latent", "16_pixel", "16_pixel_attn", "25_pixel", "wav2lip"])
def test_loss_values_of_the_published_code(name):
    losses = golden_arrays("syncnet/losses")
    golden = {key.partition(".")[2]: torch.from_numpy(x) for key, x in losses.items() if key.partition(".")[0] == name}
    cosine, labels = golden["cosine_similarity"], golden["labels"][:, 0]
    if name != "wav2lip":
        embeddings = golden_arrays(f"syncnet/{name}")
        own = cosine_similarity(*(torch.from_numpy(embeddings[f"{side}_embeds"]) for side in ("vision", "audio")))
        assert relative_error(own, cosine) < 1e-6
    each = torch.stack([sync_loss(cosine[k : k + 1], labels[k : k + 1]) for k in range(len(labels))])
    assert relative_error(each, golden["loss_per_item"]) < 1e-4
    assert relative_error(sync_loss(cosine, labels)[None], golden["loss_mean"]) < 1e-4


def test_all_pairs_weigh_what_pairs_drawn_one_by_one_weigh():
    clips, starts = "aabb", [0, 6, 0, 3]  # the windows of b lie too close to be each other's negatives
    origins = [SampleOrigin(clip, clip, start) for clip, start in zip(clips, starts, strict=True)]
    visual, audio = (torch.nn.functional.normalize(torch.rand(4, 8), dim=1) for _ in range(2))
    cosine = visual @ audio.T
    loss, accuracy = all_pairs_loss(compare_all(visual, audio, origins, min_distance=5), other_clip_share=0.3)

    def cost(pairs, label):
        return torch.stack([sync_loss(cosine[pair][None], torch.tensor([label])) for pair in pairs]).mean()

    fit, own = [(k, k) for k in range(4)], [(0, 1), (1, 0)]
    others = [(v, a) for v in range(4) for a in range(4) if clips[v] != clips[a]]
    expected = 0.5 * cost(fit, 1.0) + 0.35 * cost(own, 0.0) + 0.15 * cost(others, 0.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    right = [sum((cosine[pair] > 0.5) == label for pair in pairs) / len(pairs)
             for pairs, label in ((fit, True), (own, False), (others, False))]  # fmt: skip
    assert accuracy.item() == pytest.approx(0.5 * right[0].item() + 0.35 * right[1].item() + 0.15 * right[2].item())


def test_all_pairs_of_one_clip_or_of_single_windows_still_have_negatives():
    embeddings = torch.nn.functional.normalize(torch.rand(2, 8), dim=1)
    same = [SampleOrigin("a", "a", 0), SampleOrigin("a", "a", 9)]
    other = [SampleOrigin("a", "a", 0), SampleOrigin("b", "b", 0)]
    first, second = (all_pairs_loss(compare_all(embeddings, embeddings, x, 5), 0.5)[0] for x in (same, other))
    assert first.item() == pytest.approx(second.item())
    assert first.item() > 0.1


def test_a_contrast_is_among_all_sounds_but_those_too_near_to_be_wrong():
    origins = [SampleOrigin(clip, clip, start) for clip, start in (("a", 0), ("a", 9), ("b", 0), ("b", 3))]
    visual, audio = (torch.nn.functional.normalize(torch.rand(4, 8), dim=1) for _ in range(2))
    compared = compare_all(visual, audio, origins, min_distance=5)
    cosine = visual @ audio.T
    allowed = [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2], [0, 1, 3]]  # by window; the same by audio

    def cost(cosines: torch.Tensor) -> torch.Tensor:
        rows = enumerate(allowed)
        return torch.stack([(cosines[k, row] / 0.2).logsumexp(0) - cosines[k, k] / 0.2 for k, row in rows]).mean()

    expected = 0.5 * (cost(cosine) + cost(cosine.T))
    assert contrastive_loss(compared, 0.2).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_cosine_a_hair_above_one_is_a_probability():
    visual = torch.full((1, 4096), 1 / 64.0) * (1 + 1e-6)
    assert sync_loss(cosine_similarity(visual, visual), torch.ones(1)) == 0


def test_a_share_moves_the_best_guess_and_what_it_costs():
    origins = [SampleOrigin(clip, clip, start) for clip in "ab" for start in (0, 9)]
    guesses = torch.linspace(0.02, 0.98, 97)  # at this cosine with everything

    def losses(share: float) -> torch.Tensor:
        found = []
        for guess in guesses:
            compared = replace(compare_all(torch.eye(4), torch.eye(4), origins, 5), cosine=guess.expand(4, 4))
            found.append(all_pairs_loss(compared, 0.5, share)[0])
        return torch.stack(found)

    for share in (0.5, 0.25):
        best = int(losses(share).argmin())
        assert guesses[best].item() == pytest.approx(share, abs=0.006)
        assert losses(0.5)[best].item() == pytest.approx(guessing_loss(share), abs=1e-4)


def test_guessing_costs_ln_2():
    assert guessing_loss() == pytest.approx(math.log(2))
    assert sync_loss(torch.full((10,), 0.5), torch.tensor([0.0, 1.0] * 5)).item() == pytest.approx(math.log(2))


def test_accuracy_and_the_best_threshold():
    scores = SyncScores(torch.tensor([0.9, 0.45, 0.4, 0.2, 0.1, 0.05]), torch.tensor([1.0, 1, 1, 0, 0, 0]))
    assert scores.accuracy == pytest.approx(4 / 6)
    threshold, best = scores.best_threshold()
    assert best == 1.0
    assert 0.2 < threshold < 0.4
    assert SyncScores(torch.tensor([0.3, 0.2]), torch.tensor([0.0, 0.0])).best_threshold()[1] == 1.0
    assert SyncScores(torch.tensor([0.3, 0.2]), torch.tensor([1.0, 1.0])).best_threshold()[1] == 1.0


def test_the_confidence_interval_is_wilsons():
    scores = SyncScores(torch.tensor([0.9] * 8 + [0.1] * 2), torch.ones(10))
    low, high = scores.accuracy_interval()
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))  # 8 of 10, published table
    certain = SyncScores(torch.ones(5), torch.ones(5)).accuracy_interval()
    assert certain[1] == pytest.approx(1.0)
    assert certain[0] == pytest.approx(1 / (1 + 1.959964**2 / 5))
