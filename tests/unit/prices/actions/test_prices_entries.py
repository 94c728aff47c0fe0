"""Which source counts for which ex-date, and dividends in raw bars."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from mlops_cli.prices.actions.action_source import ListedDividend, Listing
from mlops_cli.prices.actions.checks import Measure
from mlops_cli.prices.actions.entries import BarDividends, bar_dividends, collect
from mlops_cli.prices.actions.implied_dividends import implied_steps
from tests.fakes.dividend_prices import paying_prices

PRICES = paying_prices({"2024-02-08": 0.5, "2024-05-09": 0.75})
MEASURE = Measure("XNYS", PRICES["close"], implied_steps(PRICES))


def listed(day: str, amount: float | None = 0.5, **more: object) -> ListedDividend:
    return ListedDividend(date.fromisoformat(day), amount, "here", **more)


def listing(*dividends: ListedDividend, complete: bool = True) -> Listing:
    return Listing("A", "csv", dividends, complete)


def bars_of(*dividends: ListedDividend, first: str = "2024-01-02", last: str = "2024-06-28") -> BarDividends:
    return BarDividends("yfinance", dividends, date.fromisoformat(first), date.fromisoformat(last))


def collected(bars: BarDividends | None, from_source: Listing | None) -> list[tuple[str, str, float | None]]:
    entries = collect(MEASURE, bars, from_source).entries
    return [(str(entry.day), entry.source, entry.listed.amount and round(entry.listed.amount, 6)) for entry in entries]


IMPLIED = [("2024-02-08", "implied", 0.5), ("2024-05-09", "implied", 0.75)]


class TestOrderOfSources:
    def test_without_lists_the_adjusted_closes_count(self) -> None:
        assert collected(None, None) == IMPLIED

    def test_bars_count_on_their_own_days_and_adjusted_closes_on_the_others(self) -> None:
        bars = bars_of(listed("2024-05-09", 0.76), first="2024-03-01")
        assert collected(bars, None) == [IMPLIED[0], ("2024-05-09", "yfinance", 0.76)]

    def test_bars_that_list_none_on_their_days_silence_the_adjusted_closes(self) -> None:
        assert collected(bars_of(), None) == []

    def test_a_listing_counts_from_its_first_ex_date_on(self) -> None:
        coming = listing(listed("2024-05-09", 0.77), listed("2024-08-08"))
        assert collected(None, coming) == [IMPLIED[0], ("2024-05-09", "csv", 0.77), ("2024-08-08", "csv", 0.5)]

    def test_a_listing_of_coming_dividends_alone_leaves_the_history_to_the_adjusted_closes(self) -> None:
        assert collected(None, listing(listed("2024-08-08"))) == [*IMPLIED, ("2024-08-08", "csv", 0.5)]

    def test_a_day_that_a_listing_should_have_is_named_and_not_used(self) -> None:
        result = collect(MEASURE, None, listing(listed("2024-02-08")))
        assert [str(entry.day) for entry in result.entries] == ["2024-02-08"]
        assert result.days == {date(2024, 2, 8), date(2024, 5, 9)}
        (finding,) = result.disputes("csv")
        assert finding.rule == "dividend_disputed"
        assert finding.words == "2024-05-09 0.75 (adjusted closes), csv lists none"

    def test_an_empty_listing_leaves_all_to_the_prices(self) -> None:
        assert collected(None, listing()) == IMPLIED

    def test_a_calendar_counts_after_the_last_price_only(self) -> None:
        calendar = listing(listed("2024-05-09", None), listed("2024-08-08", None), complete=False)
        assert collected(None, calendar) == [*IMPLIED, ("2024-08-08", "csv", None)]

    def test_ex_dates_up_to_the_first_session_are_left_out(self) -> None:
        early = [listed("2023-11-09"), listed("2024-01-02")]
        assert collected(bars_of(*early), listing(*early, listed("2024-08-08"))) == [("2024-08-08", "csv", 0.5)]


class TestSeveralOnOneDay:
    def test_regular_and_special_are_added_up_as_a_regular_one(self) -> None:
        both = listing(listed("2024-08-08", 2.0, kind="special"), listed("2024-08-08", 0.5))
        (entry,) = collect(MEASURE, None, both).entries[2:]
        assert (entry.listed.amount, entry.listed.kind) == (2.5, "cash")

    def test_a_listed_amount_replaces_an_unknown_one(self) -> None:
        both = listing(listed("2024-08-08", None), listed("2024-08-08", 0.5))
        assert collected(None, both)[-1] == ("2024-08-08", "csv", 0.5)


def raw(dividends: dict[str, float], closes: pd.Series | float = 100.0) -> pd.DataFrame:
    frame = PRICES.assign(dividends=0.0, close=closes)
    for day, amount in dividends.items():
        frame.loc[day, "dividends"] = amount
    return frame


class TestBars:
    def test_amounts_and_span(self) -> None:
        bars = bar_dividends("yfinance", raw({"2024-02-08": 0.5}, PRICES["close"]), PRICES["close"])
        assert bars is not None
        assert [(str(d.ex_date), d.amount, d.where) for d in bars.dividends] == [("2024-02-08", 0.5, "yfinance bars")]
        assert (str(bars.first), str(bars.last)) == ("2024-01-02", "2024-06-28")
        assert bars.source == "yfinance bars"  # not to be confused with a listing of the same name

    @pytest.mark.parametrize("factor", [4.0, 100.0, 0.01])
    def test_amounts_follow_what_cleaning_did_to_the_close_of_the_day(self, factor: float) -> None:
        frame = raw({"2024-02-08": 0.5 * factor}, PRICES["close"] * factor)
        bars = bar_dividends("csv", frame, PRICES["close"])
        assert bars is not None
        assert bars.dividends[0].amount == pytest.approx(0.5)

    def test_bars_without_the_column_or_with_empty_cells_list_nothing_at_all(self) -> None:
        assert bar_dividends("csv", PRICES, PRICES["close"]) is None
        assert bar_dividends("csv", PRICES.assign(dividends=np.nan), PRICES["close"]) is None
        assert bar_dividends("csv", raw({}).iloc[:0], PRICES["close"]) is None

    def test_bars_that_say_0_list_that_there_is_none(self) -> None:
        bars = bar_dividends("yfinance", raw({}), PRICES["close"])
        assert bars is not None
        assert bars.dividends == ()

    def test_a_row_without_a_usable_close_keeps_its_amount(self) -> None:
        frame = raw({"2024-02-08": 0.5}, PRICES["close"])
        frame.loc["2024-02-08", "close"] = np.nan
        bars = bar_dividends("csv", frame, PRICES["close"])
        assert bars is not None
        assert bars.dividends[0].amount == 0.5

    def test_times_with_a_zone_label_their_days_and_rows_may_be_in_any_order(self) -> None:
        frame = raw({"2024-02-08": 0.5, "2024-05-09": 0.75}).tz_localize("America/New_York").iloc[::-1]
        bars = bar_dividends("csv", frame, PRICES["close"])
        assert bars is not None
        assert [str(d.ex_date) for d in bars.dividends] == ["2024-02-08", "2024-05-09"]
