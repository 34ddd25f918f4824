"""GPU-hours of cells: summed where every sample tells them, and drawn."""

import made_frames as frames
import numpy as np
import pytest

from rlm_eval.report import summary
from rlm_eval.report.figures import draw, gpu_hours
from rlm_eval.report.tables import standard


def made(change=lambda frame: None):
    frame = summary.prepare(frames.frame(n=4, methods=("rlm",), lengths=(1024, 2048)))
    frame["gpu_seconds"] = 900.0
    frame["score"] = np.where(frame["length"] == 1024, 1.0, 0.0)
    change(frame)
    return frame, summary.summarise(frame)


def forget_one(frame):
    frame.loc[0, "gpu_seconds"] = np.nan


def test_hours_of_a_cell_and_of_a_correct_answer():
    _, table = made()
    assert table["gpu_hours"].tolist() == [1.0, 1.0]
    assert table["gpu_hours_per_correct"].tolist() == [0.25, pytest.approx(np.nan, nan_ok=True)]
    shown = standard._cost(table).rows
    assert shown["GPU h, cell"].tolist() == ["1", "1"]
    _, table = made(forget_one)
    assert np.isnan(table["gpu_hours"][0])  # a sum of some samples would be too small


def test_they_are_drawn_where_they_are_known_and_left_out_elsewhere():
    frame, table = made()
    names = [name for name, _, _ in draw._chosen(frame, table, table.iloc[:0], None)]
    assert "gpu_hours" in names
    figure, data = gpu_hours.by_length(frame, table)
    assert len(figure.axes) == 2
    assert data.columns[-1] == "gpu_hours_per_correct"
    plain = summary.prepare(frames.frame(n=4))
    assert "gpu_hours" not in summary.summarise(plain)
