from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.rules import clean
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2019-01-01"), pd.Timestamp("2021-12-31"))
ROWS = 120
EX_DAYS = {30: 0.9, 60: 1.1, 90: 1.0}


def with_dividends(amounts: dict[int, float] = EX_DAYS) -> pd.DataFrame:
    """Bars whose adjusted close holds the dividends by the definition: times 1 - D/P for all rows before."""
    raw = generated_bars(SESSIONS[:ROWS], seed=8).rename_axis("session")
    factor, paid = np.ones(ROWS), np.zeros(ROWS)
    for row, amount in amounts.items():
        factor[:row] *= 1 - amount / raw["close"].iloc[row - 1]
        paid[row] = amount
    return raw.assign(adj_close=raw["close"] * factor, dividends=paid, stock_splits=0.0)


def rule_counts(repairs):
    return {repair.rule: repair.count for repair in repairs}


def test_dividends_that_are_in_the_adjusted_close_change_nothing():
    raw = with_dividends()
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, raw.drop(columns=["dividends", "stock_splits"]))
    assert repairs == ()


def test_a_dividend_missing_from_the_adjusted_close_is_put_in():
    raw = with_dividends()
    missing = raw.assign(adj_close=with_dividends({30: 0.9, 60: 1.1})["adj_close"])
    table, repairs = clean(missing, "T", SESSIONS)
    np.testing.assert_allclose(table["adj_close"], raw["adj_close"])
    np.testing.assert_array_equal(table["close"], raw["close"])
    assert rule_counts(repairs) == {"dividend_adjustment": 1}
    assert repairs[0].examples == (str(SESSIONS[90].date()),)


def test_dividends_adjusted_a_hundred_times_too_little_are_put_in():
    raw = with_dividends()
    little = raw.assign(adj_close=with_dividends({row: amount / 100 for row, amount in EX_DAYS.items()})["adj_close"])
    table, repairs = clean(little, "T", SESSIONS)
    np.testing.assert_allclose(table["adj_close"], raw["adj_close"], rtol=1e-6)
    assert rule_counts(repairs) == {"dividend_adjustment": 3}


def test_a_dividend_too_large_to_be_true_is_only_noted():
    raw = with_dividends()
    raw.loc[SESSIONS[60], "dividends"] = 35.0  # a third of the price, and the price did not fall
    table, repairs = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["adj_close"], raw["adj_close"])
    assert rule_counts(repairs) == {"adj_close_unclear": 1}


def test_a_large_dividend_that_the_price_shows_is_believed():
    raw = with_dividends({})
    raw.loc[SESSIONS[60:ROWS], ["open", "high", "low", "close", "adj_close"]] *= 0.62
    paid = 0.38 * float(raw["close"].iloc[59])
    raw.loc[SESSIONS[60], "dividends"] = paid
    table, repairs = clean(raw, "T", SESSIONS)
    assert rule_counts(repairs) == {"dividend_adjustment": 1}
    np.testing.assert_allclose(table["adj_close"].iloc[:60], raw["close"].iloc[:60] * 0.62)


@pytest.mark.parametrize("amount", [100.0, 250.0])
def test_a_dividend_above_the_price_is_not_believed(amount):
    raw = with_dividends({})
    raw.loc[SESSIONS[60], "dividends"] = amount * 10
    table, _ = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["adj_close"], raw["adj_close"])


def test_an_unlisted_step_of_the_adjusted_close_is_noted():
    raw = with_dividends()
    raw.loc[raw.index < SESSIONS[45], "adj_close"] *= 0.95
    table, repairs = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["adj_close"], raw["adj_close"])
    assert rule_counts(repairs) == {"adj_close_unclear": 1}
    assert repairs[0].examples == (str(SESSIONS[45].date()),)


def test_without_a_dividends_column_the_adjusted_close_is_taken_as_it_is():
    raw = with_dividends().drop(columns=["dividends", "stock_splits"])
    raw.loc[raw.index < SESSIONS[45], "adj_close"] *= 0.95
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, raw)
    assert repairs == ()
