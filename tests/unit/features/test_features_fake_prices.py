"""The generator that other tests stand on fulfils the price table's contract."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.price_tables import random_prices, xnys_sessions


@settings(max_examples=40)
@given(sessions=st.integers(3, 300), seed=st.integers(0, 2**32), awkward=st.booleans())
def test_every_table_is_valid(sessions: int, seed: int, awkward: bool) -> None:
    table = random_prices(sessions, seed, awkward=awkward)
    assert list(table.columns) == ["open", "high", "low", "close", "adj_close", "volume"]
    assert (table.dtypes == np.float64).all()
    assert len(table) == sessions
    assert table.index.name == "session"
    assert table.index.tz is None
    assert table.index.is_monotonic_increasing
    assert table.index.is_unique
    assert table.index.isin(xnys_sessions()).all()
    assert np.isfinite(table.to_numpy()).all()
    assert (table.drop(columns="volume") > 0).all(axis=None)
    assert (table["volume"] >= 0).all()
    assert (table["high"] >= table[["open", "close", "low"]].max(axis=1)).all()
    assert (table["low"] <= table[["open", "close", "high"]].min(axis=1)).all()


def test_the_seed_decides() -> None:
    pd.testing.assert_frame_equal(random_prices(seed=3), random_prices(seed=3), check_exact=True)
    assert not random_prices(seed=3)["close"].equals(random_prices(seed=4)["close"])


def test_halts_are_missing_sessions_in_the_middle() -> None:
    whole, halted = random_prices(50, seed=1), random_prices(50, seed=1, halts=4)
    assert len(halted) == 46
    assert list(halted.index[[0, -1]]) == list(whole.index[[0, -1]])
    pd.testing.assert_frame_equal(halted, whole.loc[halted.index], check_exact=True)


def test_awkward_tables_have_what_they_promise() -> None:
    table = random_prices(600, seed=2, awkward=True)
    assert (table["volume"] == 0).any()
    assert (table["high"] == table["low"]).any()
    assert np.log(table["close"]).diff().abs().max() > 2


def test_sessions_are_the_exchanges_own() -> None:
    sessions = xnys_sessions()
    assert pd.Timestamp("2012-10-29") not in sessions, "closed for hurricane Sandy"
    assert pd.Timestamp("2012-10-31") in sessions


def test_refuses_to_run_out_of_calendar() -> None:
    with pytest.raises(ValueError, match="calendar ends"):
        random_prices(1000, start="2029-01-02")
