from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.market.sessions import sessions
from mlops_cli.prices.sources.sample_source import TICKERS, SampleSource
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure
from mlops_cli.prices.table import assemble


def sample(ticker: str):
    [raw] = SampleSource().fetch(FetchRequest([ticker]), lambda line: None)
    assert isinstance(raw, RawBars)
    return raw, *assemble(raw, None, "XNYS", None, None, "now")


@pytest.mark.parametrize(
    ("ticker", "splits", "rows"),
    [
        ("AAPL", ("2000-06-21 2:1", "2005-02-28 2:1"), 3270),
        ("FB", (), 196),
        ("GOOG", (), 2148),
        ("IBM", (), 3270),
        ("MSFT", ("2003-02-18 2:1",), 3270),
    ],
)
def test_splits_are_put_right_and_nothing_else_is_touched(ticker, splits, rows):
    raw, table, provenance = sample(ticker)
    assert len(table) == len(raw.frame) == rows
    assert table.index.equals(sessions("XNYS", table.index[0], table.index[-1]).rename("session"))
    assert {repair.rule: repair.examples for repair in provenance.repairs} == (
        {"unadjusted_split": splits} if splits else {}
    )
    after_last_split = table.loc[splits[-1][:10] :] if splits else table
    np.testing.assert_array_equal(after_last_split, raw.frame.loc[after_last_split.index])


def test_prices_before_both_splits_are_a_quarter_and_volumes_four_times():
    raw, table, _ = sample("AAPL")
    np.testing.assert_allclose(table["close"].iloc[0], raw.frame["close"].iloc[0] / 4)
    np.testing.assert_allclose(table["volume"].iloc[0], raw.frame["volume"].iloc[0] * 4)
    np.testing.assert_array_equal(table["adj_close"], raw.frame["adj_close"])


def test_the_crash_of_apple_survives_and_is_its_largest_move():
    _, table, _ = sample("AAPL")
    moves = table["close"].pct_change()
    assert moves.idxmin() == pd.Timestamp("2000-09-29")
    assert moves.min() == pytest.approx(-0.5187, abs=1e-4)
    assert moves.max() < 0.2


def test_the_special_dividend_of_microsoft_is_no_split():
    raw, table, _ = sample("MSFT")
    day = pd.Timestamp("2004-11-15")
    assert table["close"].pct_change()[day] == pytest.approx(-0.0861, abs=1e-4)
    assert table.loc[day, "close"] == raw.frame.loc[day, "close"]


def test_without_its_adjusted_close_apple_is_refused_on_the_day_of_its_first_split():
    raw, _, _ = sample("AAPL")
    blind = RawBars("AAPL", raw.frame.assign(adj_close=np.nan), raw.origin)
    with pytest.raises(Exception, match="AAPL:2000-06-21"):
        assemble(blind, None, "XNYS", None, None, "now")


def test_the_crash_survives_without_an_adjusted_close_as_well():
    raw, table, _ = sample("AAPL")
    blind = RawBars("AAPL", table.assign(adj_close=np.nan), raw.origin)
    again, _ = assemble(blind, None, "XNYS", None, None, "now")
    np.testing.assert_array_equal(again["close"], table["close"])


def test_every_ticker_is_answered_in_order_whatever_its_case():
    asked = ["aapl", "NOPE", *TICKERS]
    answers = list(SampleSource().fetch(FetchRequest(asked), lambda line: None))
    assert [answer.ticker for answer in answers] == asked
    assert isinstance(answers[1], SourceFailure)
    assert "AAPL, FB, GOOG, IBM, MSFT" in answers[1].reason
    assert answers[0].origin.startswith("bokeh_sampledata 20")
