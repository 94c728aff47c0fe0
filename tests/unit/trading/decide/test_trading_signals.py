"""Signals: how a stock's models become one forecast, and which of them trade."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import DataError
from mlops_cli.trading.contract.types import Interval, TradeForecast
from mlops_cli.trading.decide.signals import combine, reason_against
from tests.fakes.ledgers import NEXT_SESSION, SESSION

ANY = Rules(trade_without_skill=True)


def forecast(model: str = "red-aapl", ticker: str = "AAPL", bps: float = 10.0, **changes) -> TradeForecast:
    made = TradeForecast(
        model, ticker, "red", SESSION, NEXT_SESSION, Decimal(100), bps / 1e4, f"version-{model}", "skill"
    )
    return replace(made, **changes)


def test_one_model_s_forecast_is_the_signal():
    signal = combine([forecast()], Rules())["AAPL"]
    assert signal.forecast_bps == pytest.approx(10.0)
    assert (signal.model, signal.version, signal.last_close) == ("red-aapl", "version-red-aapl", Decimal(100))
    assert signal.models == (("red-aapl", pytest.approx(10.0), "version-red-aapl", "skill"),)
    assert signal.notes == ()


def test_a_decision_rests_on_the_price_and_the_dividend():
    with_dividend = forecast("a", bps=-200.0, dividend=2.5)
    signal = combine([with_dividend], Rules())["AAPL"]
    assert signal.forecast_bps == pytest.approx(-200.0)
    assert signal.total_bps == pytest.approx(1e4 * math.log(math.exp(-0.02) + 0.025), abs=0.01)
    assert signal.dividend == 2.5
    two = combine([with_dividend, forecast("b", bps=10.0)], Rules())["AAPL"]
    assert two.total_bps == pytest.approx((signal.total_bps + 10.0) / 2), "b knows of no dividend and subtracts none"
    assert two.dividend == 2.5


def test_without_a_dividend_the_total_is_the_price_return_to_the_bit():
    signal = combine([forecast("a", bps=1.234567891), forecast("b", bps=-7e-9)], Rules())["AAPL"]
    assert signal.total_bps == signal.forecast_bps


@given(st.floats(5e-4, 0.1), st.decimals("1", "5000", places=2))
def test_a_fall_by_exactly_the_dividend_is_no_return(share, close):
    fall = float(np.log1p(np.float32(-share)))  # models compute in float32
    one = forecast(bps=1e4 * fall, last_close=close, dividend=share * float(close))
    assert one.total_log_return == 0.0


def test_the_joint_interval_is_the_mean_of_those_that_there_are():
    narrow = (Interval(80, -0.01, 0.02), Interval(95, -0.02, 0.03))
    wide = (Interval(80, -0.03, 0.04),)
    three = [forecast("a", intervals=narrow), forecast("b", intervals=wide), forecast("c")]
    (joint,) = combine(three, Rules(weights={"a": 3.0}))["AAPL"].intervals
    assert (joint.level, joint.lower, joint.upper) == (80, pytest.approx(-0.015), pytest.approx(0.025))
    assert joint.width == pytest.approx(0.02)
    assert combine(three[:1], Rules())["AAPL"].intervals == narrow
    assert combine(three[2:], Rules())["AAPL"].intervals == ()


def test_tickers_are_sorted_and_apart():
    signals = combine([forecast("b", "MSFT"), forecast("a", "AAPL", -5)], Rules())
    assert list(signals) == ["AAPL", "MSFT"]
    assert signals["AAPL"].forecast_bps == pytest.approx(-5.0)
    assert combine([], Rules()) == {}


def test_weights_are_relative():
    two = [forecast("a", bps=10), forecast("b", bps=40)]
    assert combine(two, Rules())["AAPL"].forecast_bps == pytest.approx(25)
    assert combine(two, Rules(weights={"a": 2.0}))["AAPL"].forecast_bps == pytest.approx(20)
    assert combine(two, Rules(weights={"a": 4.0, "b": 2.0}))["AAPL"].forecast_bps == pytest.approx(20)


def test_the_version_of_several_depends_on_versions_and_weights():
    two = [forecast("a"), forecast("b")]
    versions = {
        combine(two, Rules())["AAPL"].version,
        combine(two, Rules(weights={"a": 2.0}))["AAPL"].version,
        combine([forecast("a", version="other"), forecast("b")], Rules())["AAPL"].version,
    }
    assert len(versions) == 3
    assert all(len(version) == 12 for version in versions)


@pytest.mark.parametrize(
    ("changes", "rules", "reason"),
    [
        ({}, Rules(), ""),
        ({}, Rules(models=("blue-*",)), "not among trading.models"),
        ({}, Rules(models=("blue-*", "red-a*")), ""),
        ({}, Rules(weights={"red-aapl": 0.0}), "its weight is 0"),
        ({"verdict": "no skill"}, Rules(), "no skill, not traded"),
        ({"verdict": None}, Rules(), "never judged (mlops evaluate does), not traded"),
        ({"verdict": None}, ANY, ""),
    ],
)
def test_why_a_model_does_not_trade(changes, rules, reason):
    assert reason_against(forecast(**changes), rules) == reason


def test_models_that_do_not_trade_are_shown_and_not_counted():
    signal = combine([forecast("a"), forecast("b", bps=99, verdict="no skill")], Rules())["AAPL"]
    assert signal.forecast_bps == pytest.approx(10.0)
    assert (signal.model, signal.version) == ("a", "version-a")
    assert [model[0] for model in signal.models] == ["a", "b"]
    assert signal.notes == ("b: no skill, not traded",)


def test_without_a_model_that_trades_there_is_no_forecast():
    signal = combine([forecast(verdict=None)], Rules())["AAPL"]
    assert (signal.forecast_bps, signal.model, signal.version) == (None, "", "")


@pytest.mark.parametrize("changes", [{"last_close": Decimal(101)}, {"session": date(2024, 1, 2)}, {"team": "blue"}])
def test_models_of_one_ticker_must_start_from_the_same_place(changes):
    with pytest.raises(DataError, match="AAPL: a, b forecast from different closes, sessions or teams"):
        combine([forecast("a"), forecast("b", **changes)], Rules())


@given(st.permutations([forecast("a", bps=1), forecast("b", bps=2), forecast("c", bps=4), forecast("d", "MSFT")]))
def test_the_order_of_the_forecasts_does_not_matter(forecasts):
    assert combine(forecasts, ANY) == combine(sorted(forecasts, key=lambda each: each.model), ANY)


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=6), st.data())
def test_the_joint_forecast_lies_between_those_of_its_models(values, data):
    weights = {f"m{n}": data.draw(st.floats(0.1, 10)) for n in range(len(values))}
    forecasts = [forecast(f"m{n}", bps=value) for n, value in enumerate(values)]
    joint = combine(forecasts, Rules(weights=weights))["AAPL"].forecast_bps
    assert joint is not None
    assert min(values) - 1e-6 <= joint <= max(values) + 1e-6
