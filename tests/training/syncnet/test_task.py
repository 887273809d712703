"""Scores of the pairs of a data set, with a network whose answers are known."""

from __future__ import annotations

import torch

from latentsync.data.clip_reader import ArrayCache, FrameReader, MelReader
from latentsync.data.negatives import NegativeRule
from latentsync.data.scan import load_clips
from latentsync.data.syncnet_dataset import SyncNetDataset
from latentsync.metrics.stable_sync import StableSync
from latentsync.training.syncnet.task import score_pairs
from latentsync.types import SyncView
from tests.data.clips import write_talking_clips
from tests.metrics.sync_networks import Knowing


def test_scores_keep_order_and_do_not_depend_on_the_batch(tmp_path):
    mels = MelReader(ArrayCache(tmp_path / "mel"))
    view = SyncView(resolution=32)
    write_talking_clips(tmp_path / "clips", 4, n_frames=48)
    data = SyncNetDataset(load_clips(tmp_path / "clips").clips, view, FrameReader(), mels, NegativeRule(), seed=0)
    model = StableSync(Knowing(), view)
    scores, faults = score_pairs(model, data, range(20), batch_size=7)
    assert not faults
    assert scores.label.tolist() == [data[index].labels[0] for index in range(20)]
    assert scores.accuracy > 0.7
    again, _ = score_pairs(model, data, range(1, 20, 2), batch_size=3)
    torch.testing.assert_close(again.cosine, scores.cosine[1::2])
    assert len(score_pairs(model, data, [], batch_size=3)[0].label) == 0
