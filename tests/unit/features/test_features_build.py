"""The feature table: its form, its target, gaps, invariances and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import FeatureSpec, Macd, Target
from mlops_cli.errors import DataError
from mlops_cli.features.build import build_features, history_columns, input_columns, sessions_needed
from tests.fakes.price_tables import random_prices, xnys_sessions

SESSIONS = xnys_sessions()
META = ("target", "last_close", "next_close", "target_session")
SPEC = FeatureSpec(
    returns=(1, 5),
    ranges=True,
    moving_averages=(5, 20),
    rsi=(4,),
    macd=Macd(fast=3, slow=6, signal=4),
    volatility=(10,),
    volume=(1, 5),
    calendar=("day_of_week", "month", "days_to_next_session"),
    history=6,
)
WARM_UP = sessions_needed(SPEC) - 1

windows = st.lists(st.integers(2, 40), max_size=3).map(tuple)
specs = st.builds(
    FeatureSpec,
    returns=st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple),
    ranges=st.booleans(),
    moving_averages=windows,
    rsi=st.lists(st.integers(2, 8), max_size=2).map(tuple),
    macd=st.none() | st.builds(Macd, fast=st.integers(2, 4), slow=st.integers(5, 12), signal=st.integers(2, 6)),
    volatility=windows,
    volume=st.lists(st.integers(1, 40), max_size=2).map(tuple),
    calendar=st.lists(st.sampled_from(("day_of_week", "month", "days_to_next_session")), max_size=3).map(tuple),
    history=st.integers(0, 40),
)
targets = st.sampled_from(get_args(Target))


def build(prices: pd.DataFrame, spec: FeatureSpec = SPEC, target: Target = "log_return") -> pd.DataFrame:
    return build_features(prices, spec, target, SESSIONS, "ACME")


@settings(max_examples=60)
@given(spec=specs, target=targets, seed=st.integers(0, 1000), halts=st.integers(0, 20), awkward=st.booleans())
def test_form_of_the_table(spec: FeatureSpec, target: Target, seed: int, halts: int, awkward: bool) -> None:
    prices = random_prices(250, seed, halts=halts, awkward=awkward)
    table = build(prices, spec, target)
    assert tuple(table.columns) == (*input_columns(spec, target), *META)
    pd.testing.assert_index_equal(table.index, prices.index[sessions_needed(spec) - 1 :])
    assert table.index.name == "session"
    inputs = table[list(input_columns(spec, target))]
    assert (inputs.dtypes == np.float64).all()
    assert np.isfinite(inputs.to_numpy()).all()
    assert table["target"].dtype == table["next_close"].dtype == np.float64
    assert np.isfinite(table["target"].to_numpy()[table["next_close"].notna()]).all()
    assert table["target"].isna().equals(table["next_close"].isna())
    assert table["target_session"].dtype == table.index.dtype
    assert (table["target_session"] > table.index).all()


def test_each_column_is_its_own_formula() -> None:
    """No two columns are swapped: every column can be had alone, and is then the same."""
    prices = random_prices(200, seed=1)
    table = build(prices)
    alone = [{"ranges": True}, {"macd": SPEC.macd}, {"history": 6}]
    alone += [
        {key: (n,)} for key in ("returns", "moving_averages", "rsi", "volatility", "volume") for n in getattr(SPEC, key)
    ]
    alone += [{"calendar": (name,)} for name in SPEC.calendar]
    seen: set[str] = set()
    for part in alone:
        spec = FeatureSpec.model_validate(part)
        names = list(input_columns(spec, "log_return"))
        pd.testing.assert_frame_equal(build(prices, spec).loc[table.index, names], table[names], check_exact=True)
        seen |= set(names)
    assert seen == set(input_columns(SPEC, "log_return"))


def test_target_is_the_log_return_to_the_next_session() -> None:
    prices = random_prices(200, seed=2)
    table = build(prices)
    close = prices["close"]
    for number in (WARM_UP, 150, 198):
        row = table.loc[prices.index[number]]
        assert row["target"] == pytest.approx(np.log(close.iloc[number + 1] / close.iloc[number]), rel=1e-12)
        assert row["last_close"] == close.iloc[number]
        assert row["next_close"] == close.iloc[number + 1]
        assert row["target_session"] == prices.index[number + 1]


def test_target_close_is_the_next_close_and_the_close_is_an_input() -> None:
    prices = random_prices(200, seed=2)
    table = build(prices, target="close")
    pd.testing.assert_series_equal(table["target"], table["next_close"], check_names=False)
    pd.testing.assert_series_equal(table["close"], prices["close"].loc[table.index], check_exact=True)


def test_tomorrows_return_is_todays_target() -> None:
    table = build(random_prices(200, seed=3))
    np.testing.assert_array_equal(table["return_1"].to_numpy()[1:], table["target"].to_numpy()[:-1])


def test_the_last_row_waits_for_its_target() -> None:
    prices = random_prices(200, seed=4, start="2019-04-01")
    last = build(prices).iloc[-1]
    assert last[["target", "next_close"]].isna().all()
    assert last["target_session"] == SESSIONS[SESSIONS.get_loc(prices.index[-1]) + 1]


def test_no_target_over_a_halt() -> None:
    whole = random_prices(200, seed=5)
    halted = whole.drop(index=whole.index[150:153])
    table = build(halted)
    before, after = whole.index[149], whole.index[153]
    assert table.loc[before, ["target", "next_close"]].isna().all()
    assert table.loc[before, "target_session"] == whole.index[150], "the forecast was for the session it missed"
    assert table["target"].isna().sum() == 2, "the row before the halt, and the last"
    assert np.isfinite(table.loc[before, list(input_columns(SPEC, "log_return"))].astype(float)).all()
    # Features count what traded, so the first return after a halt is the one over it.
    expected = np.log(whole.loc[after, "close"] / whole.loc[before, "close"])
    assert table.loc[after, "return_1"] == pytest.approx(expected, rel=1e-12)
    assert table.loc[after, "target"] == pytest.approx(build(whole).loc[after, "target"], rel=1e-12)


def test_history_is_oldest_first_and_ends_today() -> None:
    table = build(random_prices(200, seed=6))
    names = history_columns(SPEC)
    assert len(names) == 6
    np.testing.assert_array_equal(table[names[-1]], table["return_1"])
    for age, name in enumerate(reversed(names)):
        np.testing.assert_array_equal(table[name].to_numpy()[age:], table["return_1"].to_numpy()[: len(table) - age])


@settings(max_examples=40)
@given(factor=st.sampled_from([10.0]) | st.floats(1e-3, 1e3), seed=st.integers(0, 1000), awkward=st.booleans())
def test_the_unit_of_the_price_changes_nothing(factor: float, seed: int, awkward: bool) -> None:
    prices = random_prices(200, seed, awkward=awkward)
    scaled = prices.assign(**{name: prices[name] * factor for name in ("open", "high", "low", "close", "adj_close")})
    names = [*input_columns(SPEC, "log_return"), "target"]
    difference = (build(scaled)[names] - build(prices)[names]).abs().max()
    size = build(prices)[names].abs().max().clip(lower=1)
    # Rolling deviations keep a trace of jumps that have left the window; see `indicators.volatility`.
    limit = pd.Series(1e-9, index=names).mask([awkward and name.startswith("volatility") for name in names], 1e-7)
    assert (difference <= limit * size).all()
    np.testing.assert_allclose(build(scaled, target="close")["close"], build(prices, target="close")["close"] * factor)


@pytest.mark.parametrize("seed", range(5))
def test_where_the_history_starts_changes_almost_nothing(seed: int) -> None:
    spec = FeatureSpec(returns=(5,), moving_averages=(50,), rsi=(14,), macd=Macd(), volatility=(21,), volume=(21,))
    prices = random_prices(1200, seed)
    shorter = build(prices.iloc[700:], spec)
    longer = build(prices, spec).loc[shorter.index]
    names = list(input_columns(spec, "log_return"))
    difference = (shorter[names] - longer[names]).abs().max()
    assert difference["rsi_14"] / 100 < 2e-6
    assert (difference.filter(like="macd") < 1e-6).all()
    assert (difference.drop("rsi_14")[lambda d: ~d.index.str.startswith("macd")] < 1e-12).all()


def test_sessions_needed_are_enough_for_todays_row() -> None:
    prices = random_prices(400, seed=7)
    table = build(prices.tail(sessions_needed(SPEC)))
    assert len(table) == 1
    names = list(input_columns(SPEC, "log_return"))
    np.testing.assert_allclose(table[names], build(prices)[names].tail(1), atol=1e-4)


def test_too_few_sessions() -> None:
    with pytest.raises(DataError) as raised:
        build(random_prices(WARM_UP, seed=8))
    assert raised.value.message == (
        f"ACME: has {WARM_UP} sessions, its features need at least {WARM_UP + 1} (the longest: rsi_4)"
    )
    assert "period.start" in raised.value.hint
    assert len(build(random_prices(WARM_UP + 1, seed=8))) == 1


def test_no_sessions_at_all() -> None:
    with pytest.raises(DataError, match="has 0 sessions"):
        build(random_prices(10).iloc[:0], FeatureSpec(calendar=("month",)))


def test_a_price_that_never_moves() -> None:
    prices = random_prices(200, seed=9).assign(open=5.0, high=5.0, low=5.0, close=5.0, volume=0.0)
    row = build(prices).iloc[50]
    for name, expected in {
        "return_1": 0,
        "range_high_low": 0,
        "range_open_close": 0,
        "close_position": 0.5,
        "sma_ratio_20": 0,
        "rsi_4": 50,
        "macd": 0,
        "macd_signal": 0,
        "macd_histogram": 0,
        "volatility_10": 0,
        "volume_ratio_5": 0,
        "history_00": 0,
        "target": 0,
    }.items():
        assert row[name] == pytest.approx(expected, abs=1e-12), name


@pytest.mark.parametrize(
    "calendar", [SESSIONS[:0], SESSIONS[SESSIONS > "2015-03-02"], SESSIONS[SESSIONS <= "2015-05-01"]]
)
def test_a_calendar_that_does_not_cover_the_prices(calendar: pd.DatetimeIndex) -> None:
    prices = random_prices(200, seed=10)
    with pytest.raises(DataError, match="ACME: prices from 2015-01-02 to 2015-10-16"):
        build_features(prices, SPEC, "log_return", calendar, "ACME")


def test_the_shortest_calendar_that_covers_the_prices() -> None:
    prices = random_prices(200, seed=10)
    first = SESSIONS.get_loc(prices.index[0])
    shortest = SESSIONS[first : first + 201]
    pd.testing.assert_frame_equal(build_features(prices, SPEC, "log_return", shortest, "ACME"), build(prices))


def test_prices_that_break_their_contract_are_named() -> None:
    prices = random_prices(200, seed=11)
    prices.iloc[150, prices.columns.get_loc("low")] = 0.0
    with np.errstate(divide="ignore"), pytest.raises(DataError, match=r"1 feature values.*2015-08-07 range_high_low"):
        build(prices, FeatureSpec(ranges=True))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_any_resolution_of_the_index(unit: str) -> None:
    prices = random_prices(200, seed=12)
    coarse = prices.set_axis(prices.index.as_unit(unit))
    table = build(coarse)
    assert table["target_session"].dtype == table.index.dtype == f"datetime64[{unit}]"
    pd.testing.assert_frame_equal(table, build(prices), check_dtype=False, check_index_type=False)


def test_pure() -> None:
    prices = random_prices(200, seed=13)
    prices.index.name = None
    copy = prices.copy(deep=True)
    first, second = build(prices), build(prices)
    pd.testing.assert_frame_equal(prices, copy, check_exact=True)
    assert prices.index.name is None
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    second.iloc[:, :5] = -1.0
    pd.testing.assert_frame_equal(prices, copy, check_exact=True)


def test_real_stocks() -> None:
    folder = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "universe"
    files = sorted(folder.glob("*.parquet"))[::50]
    if not files:
        pytest.skip("no shared/data/universe here")
    for file in files:
        raw = pd.read_parquet(file).set_index("Date").rename(columns=lambda name: name.lower().replace(" ", "_"))
        table = build(raw.astype(np.float64))
        returns = table["target"].dropna()
        assert len(returns) >= len(raw) - WARM_UP - 5, f"{file.stem} trades on nearly every session of the exchange"
        assert returns.abs().median() < 0.05, file.stem
