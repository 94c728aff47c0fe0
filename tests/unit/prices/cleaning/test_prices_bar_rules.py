"""Prices that were not recorded: filled where the row has a close, and told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.rules import clean
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2019-01-01"), pd.Timestamp("2021-12-31"))
ROWS = 60


def bars() -> pd.DataFrame:
    return generated_bars(SESSIONS[:ROWS], 1).rename_axis("session")


def counts(repairs: tuple) -> dict[str, int]:
    return {repair.rule: repair.count for repair in repairs}


@pytest.mark.parametrize("absent", [0.0, np.nan])
def test_opens_that_were_not_recorded_are_the_close_before_within_the_range(absent):
    raw = bars()
    raw.loc[raw.index[:30], "open"] = absent
    table, repairs = clean(raw, "T", SESSIONS)
    assert counts(repairs) == {"missing_open": 30}
    before = raw["close"].shift(1).fillna(raw["close"]).clip(raw["low"], raw["high"])
    np.testing.assert_array_equal(table["open"][:30], before[:30])
    pd.testing.assert_frame_equal(table.drop(columns="open"), bars().drop(columns="open"))


@pytest.mark.parametrize("absent", [0.0, np.nan])
@pytest.mark.parametrize("columns", [["high"], ["low"], ["high", "low"], ["open", "high", "low"]])
def test_ranges_that_were_not_recorded_span_open_and_close(columns, absent):
    raw = bars()
    raw.loc[raw.index[10:20], columns] = absent
    table, repairs = clean(raw, "T", SESSIONS)
    assert counts(repairs)["missing_range"] == 10
    assert counts(repairs).get("missing_open", 0) == (10 if "open" in columns else 0)
    part = table.iloc[10:20]
    if "high" in columns:
        np.testing.assert_array_equal(part["high"], part[["open", "close"]].max(axis=1))
    if "low" in columns:
        np.testing.assert_array_equal(part["low"], part[["open", "close"]].min(axis=1))
    np.testing.assert_array_equal(table["close"], bars()["close"])


@pytest.mark.parametrize("absent", [0.0, np.nan])
def test_a_row_without_a_close_is_dropped(absent):
    raw = bars()
    raw.loc[raw.index[9], "close"] = absent
    table, repairs = clean(raw, "T", SESSIONS)
    assert len(table) == ROWS - 1
    assert set(counts(repairs)) == {"nulls" if np.isnan(absent) else "non_positive", "missing_sessions"}


def test_a_row_with_another_fault_is_dropped_and_not_filled():
    raw = bars()
    raw.loc[raw.index[9], ["open", "high"]] = [0.0, -5.0]
    assert counts(clean(raw, "T", SESSIONS).repairs) == {"non_positive": 1, "missing_sessions": 1}


def test_the_whole_row_of_a_session_is_preferred_to_filling_another():
    raw = bars()
    partial = raw.iloc[[20]].assign(open=0.0)
    table, repairs = clean(pd.concat([raw, partial]), "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars())
    assert counts(repairs) == {"out_of_order": 1, "non_positive": 1}


@settings(max_examples=40, deadline=None)
@given(rows=st.sets(st.integers(0, ROWS - 1)), columns=st.sets(st.sampled_from(["open", "high", "low"]), min_size=1))
def test_filling_keeps_every_session_and_close_and_is_idempotent(rows, columns):
    raw = bars()
    raw.loc[raw.index[sorted(rows)], sorted(columns)] = 0.0
    table, _ = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], bars()["close"])
    assert (table["low"] <= table[["open", "close"]].min(axis=1)).all()
    assert (table["high"] >= table[["open", "close"]].max(axis=1)).all()
    again, repairs = clean(table, "T", SESSIONS)
    pd.testing.assert_frame_equal(again, table)
    assert repairs == ()
