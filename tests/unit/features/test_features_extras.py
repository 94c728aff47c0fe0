"""Announced dividends and widths in the feature table: their definitions, and that they know nothing of the future."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import FeatureSpec
from mlops_cli.features.build import build_features, input_columns, interval_errors
from mlops_cli.features.column_names import ANNOUNCED, WIDEST, width_columns
from mlops_cli.features.extras import NO_EXTRAS, Extras
from mlops_cli.features.intervals import fleet_quantiles, half_widths, scaled_errors, stock_quantiles
from mlops_cli.prices.actions.dividends import Sighting
from tests.fakes.price_tables import random_prices, xnys_sessions

SPEC = FeatureSpec(returns=(1, 5), volatility=(5,))
LEVELS = (80.0, 95.0)
ROWS = 200
CALENDAR = xnys_sessions()


def sighting(ex_date: date, amount: float, *, seen: date | None = None, announced: date | None = None) -> Sighting:
    """A dividend; one that is not said to be seen on a day belongs to the history before the first fetch."""
    taken = seen is None
    return Sighting(ex_date, amount, ex_date, 100.0, "csv", seen or date(2030, 1, 1), announced, taken=taken)


def build(prices: pd.DataFrame, extras: Extras = NO_EXTRAS) -> pd.DataFrame:
    return build_features(prices, SPEC, "log_return", CALENDAR, "ACME", extras)


def after(day: pd.Timestamp, sessions: int = 1) -> pd.Timestamp:
    """The exchange's session so many sessions after `day`."""
    return CALENDAR[CALENDAR.searchsorted(day, side="right") + sessions - 1]


class TestColumns:
    def test_without_extras_there_is_nothing_more(self) -> None:
        table = build(random_prices(ROWS))
        assert list(table.columns) == [
            *input_columns(SPEC, "log_return"),
            *("target", "last_close", "next_close", "target_session"),
        ]

    def test_the_extras_follow_the_inputs_of_the_network(self) -> None:
        extras = Extras([], (50.0, 97.5))
        assert extras.columns == (ANNOUNCED, "width_50", "width_97.5")
        table = build(random_prices(ROWS), extras)
        inputs = input_columns(SPEC, "log_return")
        assert tuple(table.columns[: len(inputs) + 3]) == (*inputs, *extras.columns)
        assert np.isfinite(table[list(extras.columns)].to_numpy()).all()

    def test_widths_change_no_other_column(self) -> None:
        prices = random_prices(ROWS)
        plain, wide = build(prices), build(prices, Extras(levels=LEVELS))
        pd.testing.assert_frame_equal(wide[list(plain.columns)], plain, check_exact=True)

    def test_a_short_history_has_the_widest_intervals(self) -> None:
        table = build(random_prices(23), Extras(levels=LEVELS))
        assert set(table["width_95"]) == {WIDEST}


class TestDividends:
    prices = random_prices(ROWS)
    day = prices.index[100]

    def table(self, *sightings: Sighting) -> pd.DataFrame:
        return build(self.prices, Extras(list(sightings), LEVELS))

    def test_the_input_is_of_the_session_before_the_ex_date_in_shares_of_its_close(self) -> None:
        close = float(self.prices.loc[self.day, "close"])
        table = self.table(sighting(after(self.day).date(), 0.02 * close))
        assert table.loc[self.day, ANNOUNCED] == pytest.approx(0.02)
        assert (table[ANNOUNCED] > 0).sum() == 1

    def test_the_target_is_of_the_total_return(self) -> None:
        close = float(self.prices.loc[self.day, "close"])
        row = self.table(sighting(after(self.day).date(), 0.02 * close)).loc[self.day]
        assert row["paid_dividend"] == pytest.approx(0.02 * close)
        assert row["target"] == pytest.approx(np.log((row["next_close"] + 0.02 * close) / close), rel=1e-14)

    def test_a_dividend_that_nobody_announced_is_paid_and_is_no_input(self) -> None:
        close, ex_date = float(self.prices.loc[self.day, "close"]), after(self.day).date()
        row = self.table(sighting(ex_date, 0.02 * close, seen=ex_date)).loc[self.day]
        assert (row[ANNOUNCED], row["paid_dividend"]) == (0.0, pytest.approx(0.02 * close))

    def test_a_fall_by_the_announced_dividend_is_no_error(self) -> None:
        """The widths are of total returns: an ex-date that takes the dividend, and nothing else, widens nothing."""
        closes = self.prices["close"].copy()
        dividend = 0.05 * closes.loc[self.day]
        fallen = self.prices.copy()
        fallen.loc[fallen.index > self.day, ["open", "high", "low", "close", "adj_close"]] *= 0.95
        errors = interval_errors(fallen, CALENDAR, "ACME", [sighting(after(self.day).date(), float(dividend))])
        blind = interval_errors(fallen, CALENDAR, "ACME")
        plain = interval_errors(self.prices, CALENDAR, "ACME")
        ex_day = after(self.day)
        moved = float(closes.loc[ex_day] / closes.loc[self.day])
        expected = abs(np.log(0.95 * moved + 0.05)) / abs(np.log(moved)) * plain[ex_day]
        assert errors[ex_day] == pytest.approx(expected, rel=1e-9)
        assert blind[ex_day] > errors[ex_day]


class TestWidths:
    def test_they_are_the_scale_times_the_quantile_of_the_bars_up_to_the_row(self) -> None:
        prices = random_prices(ROWS)
        closes = prices["close"].to_numpy()
        scaled = scaled_errors(np.append(np.nan, np.diff(np.log(closes))), np.arange(ROWS) > 0)
        expected = half_widths(scaled.scales, stock_quantiles(scaled.errors, LEVELS))
        table = build(prices, Extras(levels=LEVELS))
        np.testing.assert_allclose(table[list(width_columns(LEVELS))].to_numpy(), expected[-len(table) :], rtol=1e-9)

    def test_those_of_a_fleet_take_its_quantiles_of_the_day_or_the_newest_before(self) -> None:
        prices = random_prices(ROWS)
        known = pd.DataFrame({"width_80": [2.0, 3.0]}, index=prices.index[[50, 100]])
        table = build(prices, Extras(levels=(80.0,), quantiles=known))
        scales = scaled_errors(
            np.append(np.nan, np.diff(np.log(prices["close"].to_numpy()))), np.arange(ROWS) > 0
        ).scales
        assert set(table["width_80"].loc[: prices.index[49]]) == {WIDEST}
        for bar, quantile in ((50, 2.0), (99, 2.0), (100, 3.0), (199, 3.0)):
            assert table["width_80"].loc[prices.index[bar]] == pytest.approx(quantile * scales[bar], rel=1e-9)

    def test_a_stock_that_never_moves_has_the_narrowest_width_above_zero(self) -> None:
        still = random_prices(ROWS)
        still[["open", "high", "low", "close", "adj_close"]] = 50.0
        widths = build(still, Extras([], LEVELS))[list(width_columns(LEVELS))].iloc[60:]
        assert (widths > 0).all().all()
        assert (widths <= 1e-4).all().all()


@st.composite
def worlds(draw: st.DrawFn) -> tuple[pd.DataFrame, list[Sighting], pd.Timestamp, pd.DataFrame]:
    """Prices, sightings of dividends, a day, and another table to take the prices after that day from."""
    prices = random_prices(ROWS, draw(st.integers(0, 10_000)), halts=draw(st.integers(0, 12)))
    other = random_prices(ROWS, draw(st.integers(0, 10_000)), halts=draw(st.integers(0, 12)))
    days = prices.index
    seen = []
    for _ in range(draw(st.integers(1, 12))):
        bar = draw(st.integers(10, len(days) - 2))
        first = draw(st.integers(-20, 5))
        known = CALENDAR[CALENDAR.searchsorted(days[bar]) + first].date()
        amount = draw(st.sampled_from([0.0, 0.001, 0.02, 0.3])) * float(prices["close"].iloc[bar])
        announced = draw(st.sampled_from([None, known]))
        seen.append(sighting(days[bar].date(), amount, seen=draw(st.sampled_from([None, known])), announced=announced))
    return prices, seen, days[draw(st.integers(60, len(days) - 2))], other


def known_by(sightings: list[Sighting], day: pd.Timestamp) -> list[Sighting]:
    """What had been seen by the end of a day."""
    return [sighting for sighting in sightings if sighting.known_from <= day.date()]


@settings(max_examples=80)
@given(world=worlds(), factor=st.floats(1e-3, 1e3))
def test_removing_or_changing_what_came_after_a_day_changes_no_row_up_to_it(
    world: tuple[pd.DataFrame, list[Sighting], pd.Timestamp, pd.DataFrame], factor: float
) -> None:
    prices, sightings, day, other = world
    columns = [*input_columns(SPEC, "log_return"), ANNOUNCED, *width_columns(LEVELS), "last_close"]
    expected = build(prices, Extras(sightings, LEVELS)).loc[:day, columns]
    known = known_by(sightings, day)
    cut = build(prices.loc[:day], Extras(known, LEVELS))[columns]
    pd.testing.assert_frame_equal(cut, expected, check_exact=True)
    later = other.loc[other.index > day] * factor
    lies = [sighting(target.date(), 0.05 * float(prices["close"].iloc[-1]), seen=after(day).date())
            for target in prices.index[60::7]]  # fmt: skip
    changed = build(pd.concat([prices.loc[:day], later]), Extras([*known, *lies], LEVELS)).loc[:day, columns]
    pd.testing.assert_frame_equal(changed, expected, check_exact=True)


@settings(max_examples=15)
@given(worlds=st.lists(worlds(), min_size=2, max_size=4))
def test_a_fleets_quantiles_of_a_day_know_nothing_of_the_days_after_it(
    worlds: list[tuple[pd.DataFrame, list[Sighting], pd.Timestamp, pd.DataFrame]],
) -> None:
    day = worlds[0][2]
    whole = {str(n): interval_errors(prices, CALENDAR, "A", seen) for n, (prices, seen, _, _) in enumerate(worlds)}
    cut = {
        str(n): interval_errors(prices.loc[:day], CALENDAR, "A", known_by(seen, day))
        for n, (prices, seen, _, _) in enumerate(worlds)
    }
    expected = fleet_quantiles(whole, LEVELS).loc[:day]
    pd.testing.assert_frame_equal(fleet_quantiles(cut, LEVELS), expected, check_exact=True, check_freq=False)


def test_a_dividend_is_an_input_from_the_day_on_which_it_was_announced_or_seen() -> None:
    prices = random_prices(ROWS)
    day = prices.index[100]
    late = sighting(after(day).date(), 0.02 * float(prices.loc[day, "close"]), seen=after(day).date())
    announced = sighting(late.ex_date, late.amount, announced=day.date())
    assert build(prices, Extras([late], LEVELS)).loc[day, ANNOUNCED] == 0
    assert build(prices, Extras([announced], LEVELS)).loc[day, ANNOUNCED] == pytest.approx(0.02)
