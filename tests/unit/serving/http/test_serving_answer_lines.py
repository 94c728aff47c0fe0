"""Lines of an answer to a table: prices and intervals for bars, log returns for feature values."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mlops_cli.serving.http.answer_lines import NDJSON, written
from mlops_cli.serving.uploads.posted_rows import PostedRows
from tests.fakes.served_catalogs import answer

ROWS = np.array([[1, 2, 0.01, 0.02], [3, 4, 0.01, 10]], np.float32)
BOUNDS = np.array([[-0.01, 0.01, -0.02, 0.02], [-0.01, 0.01, -10, 10]], np.float32)
ANSWER = answer("red-acme", 0.0, 0.5)._replace(interval=BOUNDS)
VALUES = PostedRows(ROWS, ["2024-01-02", "2024-01-03"], [], np.empty(0), (80.0, 95.0))
BARS = PostedRows(
    ROWS, VALUES.sessions, ["2024-01-03", "2024-01-04"], np.array([100.0, 50.0]), (80.0, 95.0), np.array([0.0, 0.25])
)


def test_lines_of_bars_have_prices_with_their_intervals() -> None:
    header, first, second, end = written(BARS, ANSWER, 0, "text/csv").decode().split("\n")
    names = header.split(",")
    assert names[-5:] == ["announced_dividend", "lower_80", "upper_80", "lower_95", "upper_95"]
    cells = dict(zip(names, second.split(","), strict=True))
    assert float(cells["predicted_close"]) == pytest.approx(50 * math.exp(0.5))
    assert float(cells["announced_dividend"]) == 0.25
    assert float(cells["upper_80"]) == pytest.approx(50 * math.exp(0.01))
    assert cells["lower_95"] == cells["upper_95"] == "", "an interval that holds every price is none"
    assert float(first.split(",")[-1]) == pytest.approx(100 * math.exp(0.02))
    assert end == ""


def test_lines_of_feature_values_have_log_returns() -> None:
    lines = [json.loads(line) for line in written(VALUES, ANSWER, 0, NDJSON).splitlines()]
    assert lines[1]["upper_80_log_return"] == pytest.approx(0.01)
    assert lines[1]["upper_95_log_return"] is None
    assert "announced_dividend" not in lines[1]


def test_later_lines_have_no_header_and_go_on_where_the_others_ended() -> None:
    (line,) = written(BARS, answer("red-acme", 0.25), 1, "text/csv").decode().splitlines()
    assert line.split(",")[:3] == ["2024-01-03", "2024-01-04", "50.0"]


def test_rows_without_widths_have_no_intervals() -> None:
    bare = PostedRows(ROWS[:, :2], [], [], np.empty(0))
    assert written(bare, answer("red-acme", 0.0, 0.5), 0, "text/csv").decode().splitlines()[0] == (
        "log_return,raw_log_return,version,rung"
    )
