"""Tables of a run and their charts."""

from __future__ import annotations

import math

import cv2
import pytest

from latentsync.training.loop.charts import Curve, Panel, draw_charts
from latentsync.training.loop.metrics_log import MetricsLog


def test_a_resumed_metrics_log_goes_on_without_doubles_or_half_lines(tmp_path):
    first = MetricsLog(tmp_path, 0)
    for step in range(1, 6):
        first.add("train", step, {"loss": 1 / step})
    first.close()
    with (tmp_path / "train.csv").open("a") as file:
        file.write("6")  # killed while writing
    second = MetricsLog(tmp_path, 3)
    second.add("train", 4, {"loss": 0.5})
    second.close()
    assert [row["step"] for row in second.rows["train"]] == [1, 2, 3, 4]
    third = MetricsLog(tmp_path, 10)
    assert [(row["step"], row["loss"]) for row in third.rows["train"]] == [
        (1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)), (4, 0.5),
    ]  # fmt: skip
    third.close()
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_run_that_measures_other_things_after_a_restart_keeps_one_table(tmp_path):
    first = MetricsLog(tmp_path, 0)
    first.add("validation", 0, {"loss": 0.5})
    first.close()
    second = MetricsLog(tmp_path, 5)
    second.add("validation", 5, {"loss": 0.4, "sync": 0.7})
    second.add("validation", 10, {"loss": 0.3})
    second.close()
    third = MetricsLog(tmp_path, 10)
    rows = third.rows["validation"]
    third.close()
    assert [(row["step"], row["loss"]) for row in rows] == [(0, 0.5), (5, 0.4), (10, 0.3)]
    assert [math.isnan(row["sync"]) for row in rows] == [True, False, True]


def test_charts_are_drawn_in_one_picture(tmp_path):
    noisy = Curve("train", range(200), [0.7] * 200, noisy=True)
    panel = Panel("loss", [noisy, Curve("validation", [0, 100], [0.7, 0.5])], [("chance", 0.69)])
    draw_charts([panel, panel], "title", tmp_path / "charts.png")
    image = cv2.imread(str(tmp_path / "charts.png"))
    assert image.shape[0] > image.shape[1] * 0.6
    assert image.std() > 5
    assert [path.name for path in tmp_path.iterdir()] == ["charts.png"]
