"""Issued forecasts in the form of computed ones: the same figures, and why a new one would differ."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from mlops_cli.live.journal.making import row_hashes
from mlops_cli.serving.answering.latest_rows import LatestRow
from mlops_cli.serving.answering.shown_issued import (
    IssuedContext,
    RowHashes,
    issued_answer,
    issued_basis,
    issued_forecast,
    levels_of,
    why_superseded,
)
from mlops_cli.serving.catalog.catalog import ModelKey
from mlops_cli.serving.contract.messages import Age, Forecast
from tests.fakes.issued_forecasts import an_issued_forecast
from tests.fakes.served_catalogs import model, version

SESSION, TARGET = date(2024, 1, 4), date(2024, 1, 5)
NOW = datetime(2024, 1, 4, 23, 30, tzinfo=UTC)
SHOWN = IssuedContext(SESSION, Age(0, False), NOW, None)
ACME = model("red-acme", "1", inputs=("a", "b", "width_80", "width_95"), levels=(80.0, 95.0), verdicts={"1": "skill"})
KEY = ModelKey("main", "red-acme")


def row(a: float = 0.25, b: float = -0.0, **changes: object) -> LatestRow:
    values = {
        "columns": ("a", "b", "width_80", "width_95", "unused"),
        "values": np.array([[a, b, 0.02, 10.0, 7.0]], np.float32),
        "session": SESSION,
        "target_session": TARGET,
        "last_close": 100.0,
    }
    return LatestRow(**{**values, **changes})


class TestHash:
    def test_it_is_the_one_that_the_journal_holds(self) -> None:
        table = pd.DataFrame(
            {"a": [0.1], "b": [1 / 3], "width_80": [0.02], "target_session": [pd.Timestamp(TARGET)]},
            index=pd.DatetimeIndex([SESSION]),
        )
        inputs = ("b", "a", "width_80", "width_95")
        served = version("1", inputs=inputs, levels=(80.0, 95.0))
        seen = LatestRow(("a", "b", "width_80"), np.array([[0.1, 1 / 3, 0.02]], np.float32), SESSION, TARGET, 1.0)
        assert [RowHashes().of(KEY, seen, served)] == row_hashes(table, inputs)

    def test_a_row_without_an_input_has_none(self) -> None:
        assert RowHashes().of(KEY, row(), version("1", inputs=("a", "c"))) == ""

    def test_it_follows_the_row_and_the_version(self) -> None:
        hashes, first, second = RowHashes(), row(), row(a=0.5)
        one, other = version("1"), version("2", inputs=("a",))
        values = [hashes.of(KEY, *pair) for pair in ((first, one), (second, one), (second, other), (first, one))]
        assert values[0] == values[3]
        assert len({*values}) == 3


class TestWhySuperseded:
    def reason(self, seen: LatestRow, **changes: object) -> str | None:
        assert ACME.default is not None
        issued = an_issued_forecast(row_hash=RowHashes().of(KEY, row(), ACME.default), **changes)
        return why_superseded(ACME, issued, seen, RowHashes())

    def test_not_while_row_and_version_are_the_same(self) -> None:
        assert self.reason(row()) is None
        assert self.reason(row(b=0.0)) is None, "-0.0 is 0"
        assert self.reason(row(last_close=100.0 * (1 + 1e-9))) is None

    def test_another_version_answers(self) -> None:
        assert self.reason(row(), version="0") == "retrained"

    def test_the_row_was_corrected(self) -> None:
        assert self.reason(row(a=0.2500001)) == "restated"

    def test_the_prices_were_split(self) -> None:
        assert self.reason(row(last_close=25.0)) == "restated"

    def test_its_columns_changed(self) -> None:
        assert self.reason(replace(row(), columns=("a", "c", "width_80", "width_95", "unused"))) == "restated"


class TestForecast:
    def test_all_fields_are_those_of_the_issue(self) -> None:
        issued = an_issued_forecast(announced_dividend=0.5)
        shown = issued_forecast(ACME, issued, SHOWN._replace(age=Age(2, True), superseded="restated"))
        assert (shown.predicted_close, shown.log_return, shown.last_close) == (101.0, issued.log_return, 100.0)
        assert (shown.session, shown.target_session, shown.ex_date) == (SESSION, TARGET, TARGET)
        assert (shown.announced_dividend, shown.dividend_source) == (0.5, "project")
        assert shown.expected_total_return == pytest.approx(math.log(1.015))
        assert shown.intervals == {"80": (98.0, 104.0), "95": None}
        assert (shown.source, shown.issued_at, shown.superseded) == ("journal", issued.issued_at, "restated")
        assert (shown.data_age_sessions, shown.stale, shown.age) == (2, True, 3600.0)
        assert (shown.version, shown.verdict, shown.rung, shown.answered_by) == ("1", "skill", "full", "red-acme")

    def test_of_a_version_that_is_gone(self) -> None:
        issued = an_issued_forecast(version="0")
        assert levels_of(ACME, issued) == (80.0,)
        shown = issued_forecast(ACME, issued, SHOWN)
        assert (shown.intervals, shown.verdict) == ({"80": (98.0, 104.0)}, None)

    def test_a_clock_that_was_set_back(self) -> None:
        assert (
            issued_forecast(ACME, an_issued_forecast(), SHOWN._replace(now=datetime(2024, 1, 1, tzinfo=UTC))).age == 0
        )

    def test_as_an_answer_it_gives_the_same_forecast(self) -> None:
        """Of which ensembles take the average."""
        issued = an_issued_forecast(announced_dividend=0.5)
        levels = levels_of(ACME, issued)
        answer = issued_answer(ACME, issued, levels, NOW)
        made = Forecast.of(issued_basis(issued, SESSION, levels), answer, Age(0, False))
        shown = issued_forecast(ACME, issued, SHOWN)
        assert made.intervals["95"] is None
        assert made.intervals["80"] == pytest.approx(shown.intervals["80"], rel=1e-6)
        for name in ("predicted_close", "log_return", "expected_total_return"):
            assert getattr(made, name) == pytest.approx(getattr(shown, name), rel=1e-6)
        same = ("model", "ticker", "team", "session", "target_session", "last_close", "announced_dividend", "ex_date",
                "dividend_source", "version", "age", "verdict", "stale")  # fmt: skip
        assert [getattr(made, name) for name in same] == [getattr(shown, name) for name in same]

    def test_an_answer_without_levels(self) -> None:
        assert issued_answer(ACME, an_issued_forecast(intervals={}), (), NOW).interval is None
