"""What was encoded before is not encoded again, and is the same to the bit."""

from __future__ import annotations

import torch

from latentsync.inference.latent_memory import LatentMemory


class Encoder:
    """Gives each image twice its value; notes which it was given."""

    def __init__(self):
        self.seen = []

    def of(self, *values):
        """What ``LatentMemory.recall`` takes of these images."""

        def encode(numbers):
            self.seen.append([values[number] for number in numbers])
            return torch.stack([torch.full((2, 3), 2.0 * values[number]) for number in numbers])

        return [bytes([value]) for value in values], encode


def recall(memory, encoder, *values, mask=b""):
    keys, encode = encoder.of(*values)
    return memory.recall(keys, mask, encode)


def test_images_are_encoded_once_each_in_order():
    memory, encoder = LatentMemory(), Encoder()
    first = recall(memory, encoder, 3, 1, 3, 2, 2)
    assert encoder.seen == [[3, 1, 2]]
    assert first[:, 0, 0].tolist() == [6, 2, 6, 4, 4]
    second = recall(memory, encoder, 2, 5, 1)
    assert encoder.seen[1:] == [[5]]
    assert second[:, 0, 0].tolist() == [4, 10, 2]
    recall(memory, encoder, 2, 5, 1)
    assert len(encoder.seen) == 2


def test_other_circumstances_are_other_latents():
    memory, encoder = LatentMemory(), Encoder()
    recall(memory, encoder, 1, mask=b"one mask")
    recall(memory, encoder, 1, mask=b"another")
    assert encoder.seen == [[1], [1]]


def test_what_was_not_asked_for_longest_goes_first():
    memory, encoder = LatentMemory(limit_bytes=2 * 24), Encoder()
    recall(memory, encoder, 1)
    recall(memory, encoder, 2)
    recall(memory, encoder, 1)
    recall(memory, encoder, 3)
    encoder.seen.clear()
    recall(memory, encoder, 1, 3)
    assert encoder.seen == []
    recall(memory, encoder, 2)
    assert encoder.seen == [[2]]


def test_more_than_it_may_keep_is_still_right():
    memory, encoder = LatentMemory(limit_bytes=24), Encoder()
    assert recall(memory, encoder, 1, 2, 3)[:, 0, 0].tolist() == [2, 4, 6]


def test_a_change_of_the_result_does_not_reach_the_memory():
    memory, encoder = LatentMemory(), Encoder()
    recall(memory, encoder, 1, 2).zero_()
    assert recall(memory, encoder, 1, 2)[:, 0, 0].tolist() == [2, 4]


def test_it_can_be_emptied():
    memory, encoder = LatentMemory(), Encoder()
    recall(memory, encoder, 1)
    memory.clear()
    recall(memory, encoder, 1)
    assert encoder.seen == [[1], [1]]
