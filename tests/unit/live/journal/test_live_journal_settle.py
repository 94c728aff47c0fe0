"""Settling: closes that became known, splits and corrections between issue and settling, and what cannot be settled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.live.journal.journal import Journal
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.records import Actual, Key
from mlops_cli.live.journal.settle import NO_SESSION, NO_TABLE, NO_TARGET, Unsettled, settle
from mlops_cli.live.journal.units import units_now
from mlops_cli.system.sqlite_files import IN_MEMORY
from tests.fakes.journal_forecasts import (
    EVENING,
    SESSION,
    TARGET,
    a_forecast,
    closes_of,
    frame_in,
    issue_all,
    settled,
)

BEFORE, ON, AFTER, NEXT = "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"
KEY = Key(SESSION, "main", "red-aapl")
KNOWN = {BEFORE: 99.0, ON: 100.0}
"""What the price table held when `a_forecast` was made."""


@pytest.fixture
def journal() -> Iterator[Journal]:
    with open_journal(IN_MEMORY) as opened:
        issue_all(opened, [a_forecast()])
        yield opened


def actuals(journal: Journal) -> list[Actual]:
    return [actual for _, actual in journal.history(KEY)]


class TestSettle:
    def test_a_close_is_known_once_the_price_table_has_it(self, journal: Journal) -> None:
        waiting = settled(journal, {"AAPL": KNOWN})
        assert (waiting.actuals, waiting.waiting, waiting.unsettled) == ((), 1, ())
        done = settled(journal, {"AAPL": {**KNOWN, AFTER: 101.5}})
        assert done.new == (Actual(KEY, 101.5, 101.5, 1.0),)
        assert (done.restated, done.waiting, done.unsettled) == ((), 0, ())

    def test_again_there_is_nothing_to_do(self, journal: Journal) -> None:
        tables = {"AAPL": {**KNOWN, AFTER: 101.5}}
        settled(journal, tables)
        assert settled(journal, {"AAPL": {**tables["AAPL"], NEXT: 103.0}}).actuals == ()

    def test_each_model_by_its_own_table(self, journal: Journal) -> None:
        issue_all(journal, [a_forecast(model="red-ibm", ticker="IBM"), a_forecast(model="blue-aapl", team="blue")])
        done = settled(journal, {"AAPL": {**KNOWN, AFTER: 101.0}, "IBM": {**KNOWN, AFTER: 98.0}})
        closes = {actual.key.model: actual.actual_close for actual in done.new}
        assert closes == {"blue-aapl": 101.0, "red-aapl": 101.0, "red-ibm": 98.0}

    def test_an_empty_journal(self) -> None:
        with open_journal(IN_MEMORY) as journal:
            assert settled(journal, {}).actuals == ()


class TestUnsettled:
    @pytest.mark.parametrize(
        ("tables", "reason"),
        [
            ({}, NO_TABLE),
            ({"AAPL": {}}, NO_TABLE),
            ({"AAPL": {**KNOWN, NEXT: 103.0}}, NO_TARGET),  # a halt
            ({"AAPL": {AFTER: 101.0}}, NO_SESSION),  # a history that begins anew
        ],
    )
    def test_what_later_prices_do_not_settle_is_named(self, journal: Journal, tables: dict, reason: str) -> None:
        done = settled(journal, tables)
        assert done.actuals == ()
        assert done.unsettled == (Unsettled("main", "AAPL", reason, (TARGET,)),)

    def test_a_settled_forecast_is_not_unsettled_by_a_table_that_vanishes(self, journal: Journal) -> None:
        settled(journal, {"AAPL": {**KNOWN, AFTER: 101.0}})
        for tables in ({}, {"AAPL": {**KNOWN, NEXT: 103.0}}):
            done = settled(journal, tables)
            assert (done.actuals, done.unsettled) == ((), ())

    def test_the_close_before_is_enough(self, journal: Journal) -> None:
        assert settled(journal, {"AAPL": {BEFORE: 99.0, AFTER: 101.0}}).new == (Actual(KEY, 101.0, 101.0, 1.0),)


class TestRestated:
    def test_a_corrected_close_is_added_and_the_first_one_kept(self, journal: Journal) -> None:
        settled(journal, {"AAPL": {**KNOWN, AFTER: 101.5}})
        done = settled(journal, {"AAPL": {**KNOWN, AFTER: 101.51}}, EVENING + timedelta(days=3))
        assert (done.new, done.restated) == ((), (Actual(KEY, 101.51, 101.51, 1.0),))
        assert [actual.actual_close for actual in actuals(journal)] == [101.5, 101.51]
        (issued,) = journal.forecasts()
        assert issued.settled is not None
        assert (issued.settled.actual.actual_close, issued.settled.restatements) == (101.51, 1)

    def test_a_split_before_settling(self, journal: Journal) -> None:
        """4:1 on the target session: the close of 25.375 is 101.50 in the units of the forecast."""
        done = settled(journal, {"AAPL": {BEFORE: 24.75, ON: 25.0, AFTER: 25.375}})
        assert done.new == (Actual(KEY, 101.5, 25.375, 0.25),)

    def test_a_reverse_split_before_settling(self, journal: Journal) -> None:
        (actual,) = settled(journal, {"AAPL": {BEFORE: 990.0, ON: 1000.0, AFTER: 1015.0}}).new
        assert (actual.actual_close, actual.units) == (pytest.approx(101.5), pytest.approx(10.0))

    def test_a_split_after_settling_changes_the_units_and_not_the_close(self, journal: Journal) -> None:
        settled(journal, {"AAPL": {**KNOWN, AFTER: 101.55}})
        # 101.55 / 4 = 25.3875, which the table rounds to cents
        done = settled(journal, {"AAPL": {BEFORE: 24.75, ON: 25.0, AFTER: 25.39, NEXT: 25.5}})
        assert done.restated == (Actual(KEY, 101.55, 25.39, pytest.approx(0.25)),)
        assert settled(journal, {"AAPL": {BEFORE: 24.75, ON: 25.0, AFTER: 25.39, NEXT: 25.5}}).actuals == ()

    def test_two_splits(self, journal: Journal) -> None:
        settled(journal, {"AAPL": {BEFORE: 49.5, ON: 50.0, AFTER: 51.0}})
        settled(journal, {"AAPL": {BEFORE: 16.5, ON: 16.6667, AFTER: 17.0}})
        assert [actual.units for actual in actuals(journal)] == pytest.approx([1 / 2, 1 / 6])
        assert [actual.actual_close for actual in actuals(journal)] == pytest.approx([102.0, 102.0])

    def test_a_source_that_restates_its_history_a_day_late(self, journal: Journal) -> None:
        """The first evening shows the new units on the day of the split only; the wrong actual is then replaced."""
        assert settled(journal, {"AAPL": {**KNOWN, AFTER: 25.375}}).new == (Actual(KEY, 25.375, 25.375, 1.0),)
        done = settled(journal, {"AAPL": {BEFORE: 24.75, ON: 25.0, AFTER: 25.375, NEXT: 25.5}})
        assert done.restated == (Actual(KEY, 101.5, 25.375, 0.25),)

    def test_a_corrected_last_close_is_no_split(self, journal: Journal) -> None:
        """The close of the forecast's session was wrong by half: what followed is measured as it was."""
        assert settled(journal, {"AAPL": {BEFORE: 99.0, ON: 50.0, AFTER: 51.0}}).new == (Actual(KEY, 51.0, 51.0, 1.0),)

    def test_a_corrected_close_before_is_no_split(self, journal: Journal) -> None:
        assert settled(journal, {"AAPL": {BEFORE: 49.5, ON: 100.0, AFTER: 101.0}}).new[0].units == 1.0

    def test_a_correction_and_a_split(self, journal: Journal) -> None:
        (actual,) = settled(journal, {"AAPL": {BEFORE: 24.75, ON: 24.5, AFTER: 25.5}}).new
        assert (actual.units, actual.actual_close) == (pytest.approx(0.25), pytest.approx(102.0))

    def test_a_spin_off_that_the_source_took_out_of_the_history(self, journal: Journal) -> None:
        """No ratio that splits have, but both closes changed by it."""
        (actual,) = settled(journal, {"AAPL": {BEFORE: 99 * 0.7805, ON: 78.05, AFTER: 79.0}}).new
        assert actual.units == pytest.approx(0.7805)
        assert actual.actual_close == pytest.approx(79.0 / 0.7805)

    def test_without_a_close_before_only_a_usual_ratio_is_a_split(self, journal: Journal) -> None:
        lone = {"previous_session": None, "previous_close": None}
        issue_all(
            journal, [a_forecast(model="split", ticker="S", **lone), a_forecast(model="wrong", ticker="W", **lone)]
        )
        tables = {"S": {ON: 50.0, AFTER: 51.0}, "W": {ON: 97.3, AFTER: 98.0}}
        units = {actual.key.model: actual.units for actual in settled(journal, tables).new}
        assert units == {"split": pytest.approx(0.5), "wrong": 1.0}


class TestUnits:
    @given(
        last=st.floats(1.0, 5000.0),
        move=st.floats(-0.2, 0.2),
        split=st.sampled_from([2, 3, 4, 10, 20, 1.5, 1 / 2, 1 / 10, 1 / 25, 1]),
        decimals=st.sampled_from([2, 4, 6]),
    )
    def test_a_split_is_found_through_the_rounding_of_prices(
        self, last: float, move: float, split: float, decimals: int
    ) -> None:
        then = np.round([[last, last * math.exp(move)]], decimals)
        now = np.maximum(np.round(then / split, decimals), 10.0**-decimals)
        (units,) = units_now(then, now, np.array([0.5 * 10.0**-decimals]))
        assert units == pytest.approx(1 / split, rel=0.02 if now.min() > 0.5 else 0.2)
        if now.min() > 5:
            assert units == pytest.approx(1 / split, rel=1e-12)

    def test_closes_that_are_not_in_the_table(self) -> None:
        then = np.array([[100.0, 99.0], [100.0, np.nan], [100.0, 99.0]])
        now = np.array([[np.nan, np.nan], [np.nan, np.nan], [np.nan, 49.5]])
        units = units_now(then, now, np.full(3, 0.005))
        np.testing.assert_allclose(units, [np.nan, np.nan, 0.5])


@given(
    closes=st.lists(st.floats(10.0, 400.0), min_size=4, max_size=4),
    ratio=st.sampled_from([2.0, 4.0, 0.1, 1.5]),
    split_day=st.integers(1, 3),
)
@settings(max_examples=15, deadline=None)
def test_when_a_split_happens_makes_no_difference(closes: list[float], ratio: float, split_day: int) -> None:
    """Restated before or after settling, or never: the actual close is the same in the units of the forecast."""
    days = [BEFORE, ON, AFTER, NEXT]
    whole = dict(zip(days, closes, strict=True))
    restated = {day: close / ratio for day, close in whole.items()}
    forecast = a_forecast(last_close=closes[1], previous_close=closes[0], intervals=())
    results = []
    for tables in ([whole], [restated], [whole, restated]):
        with open_journal(IN_MEMORY) as journal:
            issue_all(journal, [forecast])
            for table in tables:
                shown = dict(list(table.items())[: 4 if table is restated else split_day + 1])
                settled(journal, {"AAPL": shown})
            results += [issued.settled.actual.actual_close for issued in journal.forecasts() if issued.settled]
    assert results == pytest.approx([closes[2]] * len(results), rel=1e-9)
    assert len(results) == (3 if split_day > 1 else 2)


def test_a_year_of_many_models_is_settled_at_once(journal: Journal) -> None:
    """Rows of one ticker are looked up together; the result is that of each row alone."""
    days = pd.bdate_range("2024-02-01", periods=30)
    random = np.random.default_rng(0)
    closes = dict(zip(days.strftime("%Y-%m-%d"), 50 * np.exp(random.normal(0, 0.02, 30).cumsum()), strict=True))
    values = list(closes.values())
    forecasts = [
        a_forecast(
            model=f"red-{model}",
            session=days[place].date(),
            target_session=days[place + 1].date(),
            previous_session=days[place - 1].date(),
            last_close=values[place],
            previous_close=values[place - 1],
        )
        for place in range(1, 29)
        for model in range(3)
    ]
    issue_all(journal, forecasts)
    frame = frame_in(journal)
    together = settle(frame, closes_of({"AAPL": closes}))
    alone = [settle(frame.iloc[[place]], closes_of({"AAPL": closes})).new for place in range(len(frame))]
    assert sorted(together.new, key=lambda actual: actual.key) == [actual for group in alone for actual in group]
    expected = {forecast.key: closes[forecast.target_session.isoformat()] for forecast in forecasts}
    assert {actual.key: actual.actual_close for actual in together.new} == expected
    assert together.unsettled[0].targets == (date(2024, 1, 5),)  # the fixture's forecast: its table begins later
