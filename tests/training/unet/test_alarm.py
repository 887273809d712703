"""When the U-Net's alarms speak, and when they keep silent."""

from __future__ import annotations

import pytest

from latentsync.training.unet.alarm import BLIND_STEPS, UNetAlarm


def validations(**columns):
    length = len(next(iter(columns.values())))
    return [{"step": 100 * n} | {name: values[n] for name, values in columns.items()} for n in range(length)]


def alarm(from_scratch=False):
    return UNetAlarm(3e-4, clips=80, batch=8, from_scratch=from_scratch)


def said(watcher, step, train=(), validation=()):
    return [str(message) for message in watcher.check(step, {"train": list(train), "validation": list(validation)})]


def test_a_network_that_predicts_nothing_is_named_at_every_doubling():
    watcher = alarm()
    rows = [{"step": step, "recon": 0.99} for step in range(10, 4 * BLIND_STEPS + 10, 10)]
    spoken = [row["step"] for row in rows if said(watcher, row["step"], [r for r in rows if r["step"] <= row["step"]])]
    assert spoken == [BLIND_STEPS, 2 * BLIND_STEPS, 4 * BLIND_STEPS]


def test_a_network_that_learns_is_not():
    rows = [
        {"step": step, "recon": 0.99 if step < BLIND_STEPS / 2 else 0.3} for step in range(10, BLIND_STEPS + 10, 10)
    ]
    assert not said(alarm(), BLIND_STEPS, rows)


@pytest.mark.parametrize(
    ("losses", "speaks"),
    [
        ([0.2, 0.3, 0.3, 0.3], True),
        ([0.2, 0.3, 0.3], False),  # too early to say
        ([0.2, 0.3, 0.3, 0.1], False),
        ([0.2, 0.1, 0.3, 0.3, 0.3], True),  # it was better once
    ],
)
def test_worse_than_the_start_weights(losses, speaks):
    found = alarm().check(400, {"train": [], "validation": validations(loss=losses)})
    assert [message.worse_than_start for message in found] == [True] * speaks
    if speaks:
        assert "0.2000 at step 0" in found[0].text
        assert "3.0e-04, 80 clips, 8 a step" in found[0].text


def test_sync_is_better_when_it_is_higher_and_each_fall_is_said_once():
    watcher = alarm()
    rows = validations(loss=[0.2] * 6, sync_cosine=[0.6, 0.5, 0.5, 0.5, 0.7, 0.5])
    spoken = [bool(said(watcher, row["step"], validation=rows[: n + 1])) for n, row in enumerate(rows)]
    assert spoken == [False, False, False, True, False, False]
    assert said(watcher, 800, validation=rows + validations(loss=[0.2], sync_cosine=[0.5]) * 2)


def test_scores_of_a_fresh_network_and_missing_ones_mean_nothing():
    rows = validations(loss=[1.0] * 4, sync_cosine=[0.6, 0.5, 0.5, 0.5])
    assert not said(alarm(from_scratch=True), 400, validation=rows)
    assert not said(alarm(), 400, validation=validations(loss=[1.0] * 4, sync_cosine=[float("nan"), 0.5, 0.5, 0.5]))
