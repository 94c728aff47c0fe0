"""The competition's figures against numbers worked out by hand, and its table and files."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mlops_cli.config.schemas.trading import Costs, Rules
from mlops_cli.trading.contract.costs import expected_price, one_way_bps, round_trip_bps
from mlops_cli.trading.contract.types import AccountState
from mlops_cli.trading.passes.halt import risk_breach
from mlops_cli.trading.results.competition import BUY_AND_HOLD, CASH, Market, TeamResult, buy_and_hold, compete
from mlops_cli.trading.results.competition_report import competition_lines, competition_table, report_files
from mlops_cli.trading.results.performance import (
    curve_figures,
    daily_returns,
    deflated_sharpe,
    fill_frame,
    gains_of,
    trade_figures,
)

SESSIONS = pd.DatetimeIndex(["2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"])
CLOSES = pd.DataFrame({"AAA": [100.0, 110.0, 99.0, 99.0], "BBB": [50.0, 50.0, 60.0, 54.0]}, SESSIONS)
OPENS = pd.DataFrame({"AAA": [101.0, 109.0, 99.0], "BBB": [50.0, 51.0, 60.0]}, SESSIONS[1:])
NONE = CLOSES * 0.0
MARKET = Market(OPENS, CLOSES, NONE)
FREE = Costs(half_spread_bps=0, slippage_bps=0, sell_fee_bps=0)


def fill(day: int, ticker: str, side: str, qty: str, price: str) -> dict:
    time = datetime(2024, 1, day, 14, 30, tzinfo=UTC).isoformat()
    return {"ticker": ticker, "side": side, "qty": qty, "price": price, "time": time}


FILLS = fill_frame(
    [fill(4, "AAA", "buy", "10", "102"), fill(5, "AAA", "sell", "10", "108"), fill(5, "BBB", "buy", "4", "51")]
)


def book(team: str = "red", equity: tuple[float, ...] = (1000, 1080, 1096, 1072), **changes) -> TeamResult:
    values = {
        "team": team,
        "equity": pd.Series(equity, SESSIONS, dtype="float64"),
        "fills": FILLS,
        "models": (f"{team}-aaa",),
        "idle": {},
        "orders": 3,
        "trials": 12,
    }
    return TeamResult(**{**values, **changes})


def test_fills_fall_on_the_day_in_new_york():
    late = {"ticker": "AAA", "side": "sell", "qty": "2", "price": "5", "time": "2024-01-05T00:30:00+00:00"}
    frame = fill_frame([late])
    assert frame.loc[0].tolist() == [pd.Timestamp("2024-01-04"), "AAA", -2.0, 5.0]
    assert fill_frame([]).empty


def test_the_curve():
    figures = curve_figures(pd.Series([100.0, 110.0, 99.0, 108.9]))
    daily = np.array([0.1, -0.1, 0.1])
    sharpe = daily.mean() / daily.std(ddof=1)
    assert figures["return"] == pytest.approx(0.089)
    assert figures["max_drawdown"] == pytest.approx(0.1)
    assert figures["sharpe"] == pytest.approx(sharpe * math.sqrt(252))
    assert figures["sharpe_se"] == pytest.approx(math.sqrt((1 + sharpe**2 / 2) / 3 * 252))


@pytest.mark.parametrize("values", [[100.0], [100.0, 101.0], [100.0, 100.0, 100.0]])
def test_a_sharpe_ratio_of_nothing_is_none(values: list[float]):
    assert curve_figures(pd.Series(values))["sharpe"] is None


def test_gains_add_up_to_the_equity():
    gains = gains_of(FILLS, CLOSES, NONE)
    assert gains["AAA"].tolist() == [80.0, -20.0, 0.0]  # 10 x (110 - 102), 10 x (108 - 110)
    assert gains["BBB"].tolist() == [0.0, 36.0, -24.0]
    assert 1000 + gains.to_numpy().sum() == pytest.approx(1072)


def test_trading_figures():
    figures = trade_figures(FILLS, OPENS, gains_of(FILLS, CLOSES, NONE), book().equity)
    assert figures["traded"] == pytest.approx(1020 + 1080 + 204)
    assert figures["cost"] == pytest.approx(10 * 1 + 10 * 1 + 0)
    assert figures["cost_bps"] == pytest.approx(1e4 * 20 / 2304)
    assert figures["turnover"] == pytest.approx(2304 / 1062)
    assert (figures["hit_days"], figures["hit_rate"]) == (4, 0.5)
    none = trade_figures(FILLS.iloc[:0], OPENS, gains_of(FILLS.iloc[:0], CLOSES, NONE), book().equity)
    assert (none["fills"], none["turnover"], none["cost_bps"], none["hit_rate"]) == (0, 0.0, None, None)


def test_a_short_position_gains_when_the_price_falls():
    short = fill_frame([fill(5, "BBB", "sell", "10", "51")])
    assert gains_of(short, CLOSES, NONE)["BBB"].tolist() == [0.0, -90.0, 60.0]


@pytest.mark.parametrize(("side", "gain"), [("buy", 5.0), ("sell", -5.0)])
def test_a_dividend_goes_to_who_held_the_stock_the_day_before(side: str, gain: float):
    dividends = NONE.copy()
    dividends.loc["2024-01-05", "AAA"] = 0.5
    bought = fill_frame([fill(4, "AAA", side, "10", "110"), fill(5, "AAA", side, "7", "99")])
    without, given = (gains_of(bought, CLOSES, paid) for paid in (NONE, dividends))
    assert (given - without)["AAA"].tolist() == [0.0, gain, 0.0], "not for the 7 that came on the ex-date"


def test_the_hit_rate_counts_the_dividend():
    flat = CLOSES * 0.0 + 100.0
    dividends = NONE.copy()
    dividends.loc["2024-01-08"] = 1.0
    fills = fill_frame([fill(4, "AAA", "buy", "1", "100")])
    figures = trade_figures(fills, OPENS, gains_of(fills, flat, dividends), book().equity)
    assert (figures["hit_rate"], figures["hit_days"]) == (1.0, 1)


def test_buy_and_hold_receives_dividends_but_those_of_its_first_session():
    dividends = NONE.copy()
    dividends.loc["2024-01-04", "AAA"] = 9.0
    dividends.loc["2024-01-05", "BBB"] = 1.5
    with_dividends = buy_and_hold(Market(OPENS, CLOSES, dividends), 1000.0, FREE)
    assert (with_dividends - buy_and_hold(MARKET, 1000.0, FREE)).tolist() == pytest.approx([0, 0, 15, 15])


def test_buy_and_hold_pays_for_buying():
    curve = buy_and_hold(MARKET, 1000.0, FREE)
    assert curve.tolist() == pytest.approx([1000, 500 / 101 * 110 + 500, 500 / 101 * 99 + 600, 500 / 101 * 99 + 540])
    dear = buy_and_hold(MARKET, 1000.0, Costs(half_spread_bps=100, slippage_bps=0))
    assert dear.iloc[-1] == pytest.approx(curve.iloc[-1] / 1.01)


def test_the_best_return_comes_first_and_benchmarks_last():
    blue = book("blue", (1000, 1000, 1000, 1000), fills=FILLS.iloc[:0], orders=0, idle={"no skill, not traded": 10})
    summary = compete([blue, book()], MARKET, FREE, ["a note"])
    assert [row["name"] for row in summary["rows"]] == ["red", "blue", BUY_AND_HOLD, CASH]
    assert [row["rank"] for row in summary["rows"]] == [1, 2, None, None]
    assert summary["period"] == {"first": "2024-01-04", "last": "2024-01-08", "sessions": 3, "tickers": ["AAA", "BBB"]}
    assert summary["equity"][CASH] == [1000.0] * 4
    assert "blue: no trades: 10 no skill, not traded." in competition_lines(summary)
    assert "Note: a note." in competition_lines(summary)


def test_table_and_files():
    summary = compete([book(), book("blue")], MARKET, FREE)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(competition_table(summary))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "1. blue" in text
    assert "+7.20" in text
    files = report_files(summary)
    assert sorted(files) == ["competition.csv", "competition.json", "competition.md", "competition.png"]
    assert json.loads(files["competition.json"]) == summary
    assert files["competition.csv"].decode().splitlines()[:2] == [
        "session,red,blue,buy-and-hold,cash",
        "2024-01-03,1000.0,1000.0,1000.0,1000.0",
    ]
    assert files["competition.png"].startswith(b"\x89PNG")
    assert files == report_files(summary)
    rows = [line for line in files["competition.md"].decode().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1


RISING = (0.01, -0.005, 0.02, 0.003, -0.01, 0.015, 0.004, -0.002, 0.008, 0.011)
SKEWED = (0.001, 0.002, 0.0015, -0.05, 0.001, 0.003, 0.002, 0.0005, 0.001, 0.08, -0.001, 0.002)
FALLING = (-0.01, 0.005, -0.02, -0.003, 0.01, -0.015)


@pytest.mark.parametrize(
    ("returns", "trials", "probability"),
    [
        (RISING, 1, 0.9467813594289136),
        (RISING, 2, 0.8717227982846198),
        (RISING, 12, 0.5308656720437283),
        (RISING, 1000, 0.08215165132358726),
        (SKEWED, 1, 0.6744149130326607),
        (SKEWED, 12, 0.09068119664438307),
        (FALLING, 1, 0.15608296892031448),
        (FALLING, 1000, 1.8569124891103994e-05),
        ((0.01, 0.02, -0.005), 2, 0.6474499100459684),
    ],
)
def test_the_deflated_sharpe_ratio_is_what_skfolio_1_12_2_gives(returns, trials, probability):
    assert deflated_sharpe(np.array(returns), trials) == pytest.approx(probability, rel=1e-9)


@pytest.mark.parametrize("returns", [(), (0.01,), (0.01, 0.02), (0.01, 0.01, 0.01)])
def test_the_deflated_sharpe_ratio_of_too_little_is_none(returns):
    assert deflated_sharpe(np.array(returns), 5) is None


def test_the_deflated_sharpe_ratio_falls_with_the_number_of_trials():
    returns = np.random.default_rng(3).normal(0.001, 0.01, 120)
    few, many = deflated_sharpe(returns, 1), deflated_sharpe(returns, 1000)
    assert few is not None
    assert 0 <= many < few <= 1
    assert deflated_sharpe(np.zeros(120), 10) is None
    assert deflated_sharpe(returns, 0) == few


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=30))
def test_figures_are_in_their_ranges_for_any_curve(values: list[float]):
    curve = pd.Series(values)
    figures = curve_figures(curve)
    assert 0 <= figures["max_drawdown"] < 1
    assert figures["return"] > -1
    assert np.prod(1 + daily_returns(curve)) - 1 == pytest.approx(figures["return"], rel=1e-6, abs=1e-9)


def test_costs():
    costs = Costs(half_spread_bps=1.5, slippage_bps=0.5, commission_bps=1, sell_fee_bps=0.3)
    assert one_way_bps(costs, "buy") == pytest.approx(3.0)
    assert round_trip_bps(costs) == pytest.approx(6.3)
    assert expected_price(Decimal(100), "sell", costs) == Decimal("99.98")


@pytest.mark.parametrize(
    ("equity", "before", "peak", "word"),
    [
        (96_000, 100_000, 100_000, None),
        (95_000, 100_000, 100_000, "previous close"),
        (90_000, 90_000, 112_000, None),
        (90_000, 90_000, 112_500, "highest equity"),
        (100, 0, 0, None),
        (0, 100, 100, "equity is 0"),
    ],
)
def test_limits_of_loss(equity: int, before: int, peak: int, word: str | None):
    state = AccountState(Decimal(equity), Decimal(equity), Decimal(before), Decimal(0))
    breach = risk_breach(state, Decimal(peak), Rules())
    assert (breach is None) if word is None else (breach is not None and word in breach)
