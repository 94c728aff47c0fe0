"""No feature of a day knows anything of the days after it, and the check that says so can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import FeatureSpec, Macd, Target
from mlops_cli.features.build import build_features, input_columns, sessions_needed
from tests.fakes.price_tables import random_prices, xnys_sessions

SPEC = FeatureSpec(
    returns=(1, 3),
    ranges=True,
    moving_averages=(4, 10),
    rsi=(3,),
    macd=Macd(fast=2, slow=4, signal=3),
    volatility=(5,),
    volume=(1, 6),
    calendar=("day_of_week", "month", "days_to_next_session"),
    history=8,
)
ROWS = 160
FIRST = sessions_needed(SPEC) - 1
PRICES = ("open", "high", "low", "close", "adj_close")
KNOWN = ("last_close", "target_session")
"""Columns beside the inputs that must be blind too."""

DAY = pd.Timestamp("2015-06-25")
"""A Thursday in the middle of the planted-leak tests."""

Build = Callable[[pd.DataFrame, pd.DatetimeIndex], pd.DataFrame]


def features_of(target: Target) -> Build:
    def build(prices: pd.DataFrame, calendar: pd.DatetimeIndex) -> pd.DataFrame:
        table = build_features(prices, SPEC, target, calendar, "ACME")
        return table[[*input_columns(SPEC, target), *KNOWN]]

    return build


def assert_same_bits(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_index_equal(actual.index, expected.index)
    for name in expected.columns:
        if actual[name].to_numpy().tobytes() != expected[name].to_numpy().tobytes():
            days = expected.index[actual[name].to_numpy() != expected[name].to_numpy()]
            raise AssertionError(f"{name} changed with the future on {len(days)} days, the first {days[0]:%F}")


def assert_blind_to_the_future(build: Build, prices: pd.DataFrame, day: pd.Timestamp, other: pd.DataFrame) -> None:
    """Rows up to `day` must not change when what follows is cut off, or is what `other` says."""
    calendar = xnys_sessions()
    expected = build(prices, calendar).loc[:day]
    up_to_the_next_session = calendar[: calendar.searchsorted(day, side="right") + 1]
    assert_same_bits(build(prices.loc[:day], up_to_the_next_session), expected)
    another_future = pd.concat([prices.loc[:day], other.loc[other.index > day]])
    assert_same_bits(build(another_future, calendar).loc[:day], expected)


@st.composite
def futures(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.Timestamp, pd.DataFrame]:
    """A price table, one of its days, and another table to take the future from."""
    prices = random_prices(
        ROWS, draw(st.integers(0, 10_000)), halts=draw(st.integers(0, 15)), awkward=draw(st.booleans())
    )
    day = prices.index[draw(st.integers(FIRST, len(prices) - 2))]
    length = draw(st.integers(ROWS - 40, ROWS + 40))
    other = random_prices(length, draw(st.integers(0, 10_000)), halts=draw(st.integers(0, 30)), awkward=True)
    factor = draw(st.floats(1e-6, 1e6))
    return prices, day, other.assign(**{name: other[name] * factor for name in PRICES})


@settings(max_examples=150)
@given(case=futures(), target=st.sampled_from(("log_return", "close")))
def test_no_look_ahead(case: tuple[pd.DataFrame, pd.Timestamp, pd.DataFrame], target: Target) -> None:
    assert_blind_to_the_future(features_of(target), *case)


def test_no_look_ahead_on_any_day() -> None:
    """Every single day of one history, so that no day depends on hypothesis' luck."""
    prices, other = random_prices(ROWS, seed=1, halts=5, awkward=True), random_prices(ROWS, seed=2)
    for day in prices.index[FIRST:-1]:
        assert_blind_to_the_future(features_of("log_return"), prices, day, other)


def leaking(leak: Callable[[pd.DataFrame], pd.Series]) -> Build:
    """The real features with one leaking column beside them."""

    def build(prices: pd.DataFrame, calendar: pd.DatetimeIndex) -> pd.DataFrame:
        table = features_of("log_return")(prices, calendar)
        return table.assign(leak=leak(prices).reindex(table.index))

    return build


LEAKS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "tomorrow's close": lambda p: p["close"].shift(-1),
    "tomorrow's open": lambda p: p["open"].shift(-1),
    "a centred window": lambda p: p["close"].rolling(5, center=True, min_periods=1).mean(),
    "scaling by the whole sample": lambda p: (p["close"] - p["close"].mean()) / p["close"].std(),
    "ranks in the whole sample": lambda p: p["volume"].rank(pct=True),
    "the last close as unit": lambda p: p["close"] / p["close"].iloc[-1],
    "filling backwards": lambda p: p["close"].where(p.index.day_of_week == 0).bfill(),
    "an average run backwards": lambda p: p["close"][::-1].ewm(span=5).mean()[::-1],
    "days until the history ends": lambda p: pd.Series(np.arange(len(p))[::-1], index=p.index, dtype=float),
    "a sign that tomorrow decides": lambda p: np.sign(p["close"].shift(-1) - p["close"]) * 0.0,
}


@pytest.mark.parametrize("name", LEAKS)
def test_the_check_catches_a_planted_leak(name: str) -> None:
    prices, other = random_prices(ROWS, seed=3), random_prices(ROWS, seed=4)
    with pytest.raises(AssertionError, match="leak changed with the future"):
        assert_blind_to_the_future(leaking(LEAKS[name]), prices, DAY, other)


def test_the_check_catches_rows_that_depend_on_the_future() -> None:
    def build(prices: pd.DataFrame, calendar: pd.DatetimeIndex) -> pd.DataFrame:
        return features_of("log_return")(prices, calendar).iloc[len(prices) // 10 :]

    prices = random_prices(ROWS, seed=3)
    with pytest.raises(AssertionError):
        assert_blind_to_the_future(build, prices, DAY, random_prices(ROWS, seed=4))


def test_the_check_catches_the_target_as_a_feature() -> None:
    def build(prices: pd.DataFrame, calendar: pd.DatetimeIndex) -> pd.DataFrame:
        return build_features(prices, SPEC, "log_return", calendar, "ACME")[["return_1", "target"]]

    prices = random_prices(ROWS, seed=3)
    with pytest.raises(AssertionError, match="target changed with the future"):
        assert_blind_to_the_future(build, prices, DAY, random_prices(ROWS, seed=4))


def test_the_check_lets_an_honest_column_pass() -> None:
    prices = random_prices(ROWS, seed=3)
    honest = leaking(lambda p: p["close"].rolling(5).mean())
    assert_blind_to_the_future(honest, prices, DAY, random_prices(ROWS, seed=4))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    row=st.integers(FIRST, ROWS - 2),
    target=st.sampled_from(("log_return", "close")),
)
def test_a_target_depends_on_two_closes_only(seed: int, row: int, target: Target) -> None:
    calendar = xnys_sessions()
    prices, other = random_prices(ROWS, seed), random_prices(ROWS, seed + 1)
    day, tomorrow = prices.index[row], prices.index[row + 1]
    other.loc[[day, tomorrow], "close"] = prices.loc[[day, tomorrow], "close"]
    names = ["target", "last_close", "next_close"]
    expected = build_features(prices, SPEC, target, calendar, "ACME").loc[day, names]
    assert build_features(other, SPEC, target, calendar, "ACME").loc[day, names].equals(expected)
    for changed in (day, tomorrow):
        moved = prices.copy()
        moved.loc[changed, "close"] *= 1.5
        got = build_features(moved, SPEC, target, calendar, "ACME").loc[day, "target"]
        assert got != expected["target"] or (target == "close" and changed == day)


def test_no_look_ahead_on_real_stocks() -> None:
    folder = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "universe"
    files = sorted(folder.glob("*.parquet"))[::125]
    if not files:
        pytest.skip("no shared/data/universe here")
    for file in files:
        raw = pd.read_parquet(file).set_index("Date").rename(columns=lambda name: name.lower().replace(" ", "_"))
        prices = raw.astype(np.float64).set_axis(pd.DatetimeIndex(raw.index).as_unit("ns"))
        other = prices[list(prices.columns)].iloc[::-1].set_axis(prices.index)
        for day in prices.index[200::700][:-1]:
            assert_blind_to_the_future(features_of("close"), prices, day, other)
