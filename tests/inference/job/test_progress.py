"""A run is followed and ended from outside."""

from __future__ import annotations

import pytest

from latentsync.errors import StoppedError
from latentsync.inference.job.progress import ProgressMeter, RunControl
from tests.inference.world import DrawnVideo, Identity, sync


def test_steps_of_the_network_count_as_frames_and_nothing_falls():
    heard = []
    control = RunControl(lambda *report: heard.append(report))
    control.expect(frames=32, steps=8)
    control.enter("dubbing")
    for _ in range(8):
        control.step_done(1)
    for done in (0, 16, 31):
        control.written(done)
    assert [done for _, done, _ in heard] == [0, 4, 8, 12, 16, 20, 24, 28, 31, 31, 31, 31]
    assert {(stage, total) for stage, _, total in heard} == {("dubbing", 32)}


def test_whoever_stops_is_heard_at_the_next_step():
    control = RunControl()
    control.step_done(1)
    control.stop()
    for report in (control.check, lambda: control.enter("loading"), lambda: control.step_done(1)):
        with pytest.raises(StoppedError):
            report()


def test_a_network_that_is_stopped_between_two_steps_ends_the_pipeline():
    control = RunControl()
    windows = []

    class Stepping(Identity):
        def __call__(self, given):
            windows.append(given)
            for step in range(10):
                if len(windows) == 2 and step == 5:
                    control.stop()
                control.step_done(len(given))
            return super().__call__(given)

    with pytest.raises(StoppedError):
        list(sync(DrawnVideo(80), 3, Stepping()))
    assert len(windows) == 2


def test_time_left(monkeypatch):
    clock = iter([0.0, 10.0, 12.0, 14.0]).__next__
    monkeypatch.setattr("latentsync.inference.job.progress.time.monotonic", clock)
    meter = ProgressMeter()
    meter.update("dubbing", 10, 40)
    assert meter.reading.seconds_left is None
    meter.update("dubbing", 20, 40)  # ten in two seconds
    assert meter.reading.seconds_left == 4.0
    assert meter.reading.share == 0.5
