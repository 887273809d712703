"""What was encoded before is not encoded again, and is the same to the bit."""

from __future__ import annotations

import numpy as np
import torch

from latentsync.inference.latent_generator import LatentMemory


class Encoder:
    """Doubles its images; notes which it was given."""

    def __init__(self):
        self.seen = []

    def __call__(self, images):
        self.seen.append(images[:, 0, 0].tolist())
        return 2 * torch.from_numpy(images)


def images(*values):
    return np.stack([np.full((2, 3), value, np.float32) for value in values])


def test_pictures_are_encoded_once_each_in_order():
    memory, encode = LatentMemory(), Encoder()
    first = memory.recall(images(3, 1, 3, 2, 2), b"", encode)
    assert encode.seen == [[3, 1, 2]]
    assert first[:, 0, 0].tolist() == [6, 2, 6, 4, 4]
    second = memory.recall(images(2, 5, 1), b"", encode)
    assert encode.seen[1:] == [[5]]
    assert second[:, 0, 0].tolist() == [4, 10, 2]
    memory.recall(images(2, 5, 1), b"", encode)
    assert len(encode.seen) == 2


def test_other_circumstances_are_other_latents():
    memory, encode = LatentMemory(), Encoder()
    memory.recall(images(1), b"one mask", encode)
    memory.recall(images(1), b"another", encode)
    assert encode.seen == [[1], [1]]


def test_what_was_not_asked_for_longest_goes_first():
    memory, encode = LatentMemory(limit_bytes=2 * 24), Encoder()
    memory.recall(images(1), b"", encode)
    memory.recall(images(2), b"", encode)
    memory.recall(images(1), b"", encode)
    memory.recall(images(3), b"", encode)
    encode.seen.clear()
    memory.recall(images(1, 3), b"", encode)
    assert encode.seen == []
    memory.recall(images(2), b"", encode)
    assert encode.seen == [[2]]


def test_more_than_it_may_keep_is_still_right():
    memory, encode = LatentMemory(limit_bytes=24), Encoder()
    assert memory.recall(images(1, 2, 3), b"", encode)[:, 0, 0].tolist() == [2, 4, 6]


def test_a_change_of_the_result_does_not_reach_the_memory():
    memory, encode = LatentMemory(), Encoder()
    memory.recall(images(1, 2), b"", encode).zero_()
    assert memory.recall(images(1, 2), b"", encode)[:, 0, 0].tolist() == [2, 4]


def test_it_can_be_emptied():
    memory, encode = LatentMemory(), Encoder()
    memory.recall(images(1), b"", encode)
    memory.clear()
    memory.recall(images(1), b"", encode)
    assert encode.seen == [[1], [1]]
