"""The order of the data: complete, repeatable, and the same for any number of processes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latentsync.training.loop.data_order import StepBatches


def order(batch_size=4, accumulation=1, n_processes=1, process=0, first_step=0, last_step=30, n_samples=7, seed=1):
    return StepBatches(n_samples, batch_size, accumulation, n_processes, process, seed, first_step, last_step)


@given(processes=st.integers(1, 4), accumulation=st.integers(1, 3), batch=st.integers(1, 5), n=st.integers(1, 20))
def test_the_samples_of_a_step_depend_only_on_the_global_batch(processes, accumulation, batch, n):
    whole = list(order(batch * processes * accumulation, n_samples=n))
    parts = [list(order(batch, accumulation, processes, rank, n_samples=n)) for rank in range(processes)]
    for step, expected in enumerate(whole):
        groups = [part[step * accumulation : (step + 1) * accumulation] for part in parts]
        seen = [key for group in groups for keys in group for key in keys]
        assert sorted(seen) == sorted(expected)
        assert {key.step for key in seen} == {step}


def test_a_later_start_continues_the_same_order():
    assert list(order(first_step=12)) == list(order())[12:]
    assert len(order(first_step=12, accumulation=2)) == 36


def test_every_sample_comes_once_per_epoch_in_changing_order():
    keys = [key for batch in order(batch_size=7) for key in batch]
    epochs = [[key.index for key in keys if key.epoch == epoch] for epoch in range(30)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 20
    assert [key.index for batch in order(seed=2) for key in batch] != [k.index for batch in order() for k in batch]
