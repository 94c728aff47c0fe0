"""When models are trained anew, and how forecasts of old and new models are joined."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.simulation.walk_dates import join_forecasts, retraining_dates, segments, target_sessions

SESSIONS = pd.bdate_range("2024-01-15", "2024-08-09")


def test_monthly_is_the_first_session_of_the_period_and_of_each_later_month() -> None:
    assert [str(day) for day in retraining_dates(SESSIONS, "monthly")] == [
        "2024-01-15", "2024-02-01", "2024-03-01", "2024-04-01", "2024-05-01", "2024-06-03", "2024-07-01", "2024-08-01",
    ]  # fmt: skip


def test_quarterly_never_and_every_so_many_sessions() -> None:
    assert [str(day) for day in retraining_dates(SESSIONS, "yearly")] == ["2024-01-15"]
    two_years = pd.bdate_range("2023-09-01", "2025-02-28")
    assert [str(day) for day in retraining_dates(two_years, "yearly")] == ["2023-09-01", "2024-01-01", "2025-01-01"]
    assert [str(day) for day in retraining_dates(SESSIONS, "quarterly")] == ["2024-01-15", "2024-04-01", "2024-07-01"]
    assert retraining_dates(SESSIONS, "never") == [date(2024, 1, 15)]
    assert retraining_dates(SESSIONS, 60) == [SESSIONS[place].date() for place in (0, 60, 120)]
    assert retraining_dates(SESSIONS, 10_000) == [date(2024, 1, 15)]
    assert retraining_dates(SESSIONS, 1) == [day.date() for day in SESSIONS]


def test_years_are_told_apart() -> None:
    year_apart = [pd.Timestamp("2023-05-02"), pd.Timestamp("2024-05-02"), pd.Timestamp("2024-06-03")]
    assert len(retraining_dates(year_apart, "monthly")) == 3
    assert len(retraining_dates(year_apart, "quarterly")) == 2


def test_without_sessions_there_is_no_date() -> None:
    assert retraining_dates([], "monthly") == []
    assert segments([], date(2024, 1, 1)) == []


@given(
    st.lists(st.dates(date(2020, 1, 1), date(2023, 12, 31)), min_size=1, max_size=60),
    st.one_of(st.sampled_from(["never", "monthly", "quarterly", "yearly"]), st.integers(1, 30)),
)
def test_every_session_is_forecast_by_exactly_one_date_that_is_not_after_it(days: list[date], retrain: object) -> None:
    sessions = [pd.Timestamp(day) for day in days]
    dates = retraining_dates(sessions, retrain)
    assert dates == retraining_dates(sorted(set(sessions)), retrain), "order and repeats do not matter"
    assert dates == sorted(set(dates))
    assert dates[0] == min(days)
    assert set(dates) <= set(days)
    parts = segments(dates, max(days) + timedelta(days=1))
    assert all(sum(start <= day < end for start, end in parts) == 1 for day in days)


@given(st.integers(1, 140), st.sampled_from(["monthly", "quarterly", 1, 7, 30]))
def test_dates_do_not_change_when_later_sessions_come_in(known: int, retrain: object) -> None:
    early = retraining_dates(SESSIONS[:known], retrain)
    assert retraining_dates(SESSIONS, retrain)[: len(early)] == early


def test_only_sessions_of_the_period_with_a_known_close_count() -> None:
    table = pd.DataFrame({"target_session": SESSIONS[:6], "next_close": [1.0, 1.0, np.nan, 1.0, 1.0, 1.0]})
    found = target_sessions(table, SESSIONS[1].date(), SESSIONS[4].date())
    assert list(found) == [SESSIONS[1], SESSIONS[3]]


def frame(model: str, days: pd.DatetimeIndex, value: float) -> pd.DataFrame:
    return pd.DataFrame({"model": model, "target_session": days, "predicted_close": value})


def test_stitched_forecasts_are_the_frozen_ones_up_to_the_first_retraining() -> None:
    frozen = {name: frame(name, SESSIONS[:10], 1.0) for name in ("a", "b", "c")}
    retrained = {"a": frame("a", SESSIONS[4:10], 2.0), "b": pd.DataFrame()}
    joined = join_forecasts(frozen, retrained, {"a": SESSIONS[4].date()})
    assert list(joined["model"]) == ["a"] * 10 + ["b"] * 10
    assert list(joined["target_session"]) == [*SESSIONS[:10], *SESSIONS[:10]]
    assert list(joined["predicted_close"]) == [1.0] * 4 + [2.0] * 6 + [1.0] * 10
    assert join_forecasts(frozen, {}, {}).empty


@pytest.mark.parametrize("retrain", ["monthly", 5])
def test_stitching_a_model_with_itself_changes_nothing(retrain: object) -> None:
    frozen = {"a": frame("a", SESSIONS, 1.0)}
    first = retraining_dates(SESSIONS, retrain)[1]
    later = {"a": frozen["a"].loc[frozen["a"]["target_session"] >= pd.Timestamp(first)]}
    pd.testing.assert_frame_equal(join_forecasts(frozen, later, {"a": first}), frozen["a"])
