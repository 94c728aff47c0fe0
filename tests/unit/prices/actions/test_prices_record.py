"""From what sources list today to new sightings: first fetch, later fetches, changes, withdrawals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.prices.actions.action_source import ListedDividend, Listing
from mlops_cli.prices.actions.dividends import Sighting, announced_amounts
from mlops_cli.prices.actions.entries import BarDividends
from mlops_cli.prices.actions.record import Evidence, Recorded, record
from tests.fakes.dividend_prices import paying_prices, sighting

PRICES = paying_prices({"2024-02-08": 0.5, "2024-05-09": 0.75})
TODAY = date(2024, 6, 30)
STORED = {"stored_from": date(2024, 1, 2), "stored_until": date(2024, 6, 28)}


def evidence(*listed: ListedDividend, complete: bool = True, source: str = "csv", **more: object) -> Evidence:
    listing = Listing("A", source, listed, complete) if listed or not complete else None
    facts = {"exchange": "XNYS", "prices": PRICES, "adjusted": True, "seen": TODAY, "listing": listing, **more}
    return Evidence(**facts)


def dividend(day: str, amount: float | None = 0.5, **more: object) -> ListedDividend:
    return ListedDividend(date.fromisoformat(day), amount, "A.csv:2", **more)


def told(recorded: Recorded) -> list[tuple[str, float, str]]:
    return [(str(s.ex_date), round(s.amount, 6), s.source) for s in recorded.new]


def rules(recorded: Recorded) -> list[str]:
    return [finding.rule for finding in recorded.findings]


class TestFirstFetch:
    def test_the_history_is_taken_as_announced(self) -> None:
        recorded = record(evidence())
        assert told(recorded) == [("2024-02-08", 0.5, "implied"), ("2024-05-09", 0.75, "implied")]
        assert all(s.taken and s.seen == TODAY and s.announced is None for s in recorded.new)

    def test_each_sighting_keeps_the_close_before_its_ex_date(self) -> None:
        first = record(evidence()).new[0]
        assert first.close_session == date(2024, 2, 7)
        assert first.close == PRICES.loc["2024-02-07", "close"]

    def test_a_coming_dividend_is_known_from_today(self) -> None:
        coming = record(evidence(dividend("2024-08-08"))).new[-1]
        assert (coming.taken, coming.known_from) == (False, TODAY)
        assert (coming.close_session, coming.close) == (date(2024, 6, 28), PRICES["close"].iloc[-1])

    def test_an_ex_date_today_belongs_to_the_history(self) -> None:
        today = record(evidence(dividend("2024-07-01"), seen=date(2024, 7, 1))).new[-1]
        assert today.taken

    def test_a_listed_announcement_of_the_history_counts_from_its_day(self) -> None:
        announced = record(evidence(dividend("2024-05-09", 0.75, announced=date(2024, 4, 20)))).new[-1]
        assert (announced.is_assumed, announced.known_from) == (False, date(2024, 4, 20))

    def test_nothing_is_known_without_adjusted_closes_and_lists(self) -> None:
        recorded = record(evidence(adjusted=False))
        assert recorded == Recorded((), (), is_known=False)

    def test_a_list_of_none_is_known(self) -> None:
        nothing = Listing("A", "alpaca")
        assert record(replace(evidence(adjusted=False), listing=nothing)).is_known
        assert record(evidence(prices=paying_prices({}))) == Recorded((), (), is_known=True)
        bars = BarDividends("yfinance", (), date(2024, 1, 2), date(2024, 6, 28))
        assert record(evidence(adjusted=False, bars=bars)).is_known

    def test_a_calendar_without_an_answer_is_no_list_of_none(self) -> None:
        assert not record(evidence(adjusted=False, complete=False)).is_known


class TestEstimates:
    def test_a_coming_ex_date_without_amount_takes_the_last_regular_one(self) -> None:
        coming = record(evidence(dividend("2024-08-08", None), complete=False)).new[-1]
        assert (coming.amount, coming.estimated, coming.taken) == (pytest.approx(0.75), True, False)

    def test_a_special_dividend_is_no_estimate(self) -> None:
        stored = [sighting("2024-02-08", 0.4), sighting("2024-05-09", 3.0, kind="special")]
        coming = record(evidence(dividend("2024-08-08", None), complete=False, adjusted=False, stored=stored)).new[-1]
        assert coming.amount == 0.4

    def test_without_any_paid_it_is_named_and_not_used(self) -> None:
        recorded = record(evidence(dividend("2024-08-08", None), complete=False, adjusted=False))
        assert (told(recorded), rules(recorded)) == ([], ["dividend_no_amount"])

    def test_the_listed_amount_replaces_the_estimate_and_not_the_reverse(self) -> None:
        estimated = record(evidence(dividend("2024-08-08", None), complete=False)).new
        again = record(evidence(dividend("2024-08-08", 0.75), stored=estimated, source="alpaca"))
        assert told(again) == [("2024-08-08", 0.75, "alpaca")]
        stored = [*estimated, *again.new]
        assert told(record(evidence(dividend("2024-08-08", None), complete=False, stored=stored))) == []

    def test_an_estimate_whose_day_passed_without_a_dividend_is_withdrawn(self) -> None:
        estimated = sighting("2024-06-20", 0.75, "2024-06-01", estimated=True, source="yfinance")
        history = list(record(evidence()).new)
        assert told(record(evidence(stored=[*history, estimated]))) == [("2024-06-20", 0.0, "yfinance")]


class TestLaterFetches:
    HISTORY = record(evidence()).new

    def test_the_same_again_is_no_news(self) -> None:
        again = record(evidence(stored=self.HISTORY, seen=date(2024, 9, 1), **STORED))
        assert (again.new, again.findings) == ((), ())

    def test_a_dividend_first_seen_after_its_ex_date_is_not_taken(self) -> None:
        later = paying_prices({"2024-02-08": 0.5, "2024-05-09": 0.75, "2024-08-08": 0.8}, last="2024-08-30")
        (new,) = record(evidence(prices=later, stored=self.HISTORY, seen=date(2024, 8, 30))).new
        assert (str(new.ex_date), new.taken, str(new.known_from)) == ("2024-08-08", False, "2024-08-30")

    def test_a_ticker_of_which_none_were_listed_at_first_is_not_fetched_for_the_first_time_again(self) -> None:
        (new, _) = record(evidence(stored=[])).new
        assert not new.taken

    def test_adjusted_closes_before_appended_sessions_are_settled(self) -> None:
        """Bars that were fetched earlier listed no dividend on a day on which the adjusted closes have a step."""
        later = paying_prices({"2024-03-07": 2.0, "2024-06-27": 0.8})
        appended = evidence(prices=later, stored=[], is_appended=True, **{**STORED, "stored_until": date(2024, 6, 20)})
        assert told(record(appended)) == [("2024-06-27", 0.8, "implied")]
        assert len(record(replace(appended, stored=None)).new) == 2  # a project that kept no sightings before

    def test_a_history_that_is_extended_backward_is_taken_as_announced(self) -> None:
        longer = paying_prices(
            {"2023-08-10": 0.4, "2023-11-09": 0.45, "2024-02-08": 0.5, "2024-05-09": 0.75}, first="2023-07-03"
        )
        again = evidence(prices=longer, stored=self.HISTORY, seen=date(2024, 9, 1), **STORED)
        assert [(str(s.ex_date), s.taken) for s in record(again).new] == [("2023-08-10", True), ("2023-11-09", True)]

    def test_a_period_that_is_widened_forward_is_taken_up_to_the_first_fetch(self) -> None:
        """The period ended in March, and the first fetch was on June 30."""
        history = record(evidence(prices=PRICES.loc[:"2024-03-28"])).new
        longer = paying_prices({"2024-02-08": 0.5, "2024-05-09": 0.75, "2024-08-08": 0.8}, last="2024-08-30")
        again = evidence(
            prices=longer, stored=history, seen=date(2024, 9, 1), **{**STORED, "stored_until": date(2024, 3, 28)}
        )
        assert [(str(s.ex_date), s.taken) for s in record(again).new] == [("2024-05-09", True), ("2024-08-08", False)]

    def test_what_the_stored_prices_reach_is_not_taken_later(self) -> None:
        history = record(evidence(prices=paying_prices({"2024-02-08": 0.5}))).new
        (new,) = record(evidence(stored=history, seen=date(2024, 9, 1), **STORED)).new
        assert (str(new.ex_date), new.taken) == ("2024-05-09", False)

    def test_without_the_earlier_table_nothing_is_taken_again(self) -> None:
        longer = paying_prices({"2023-11-09": 0.45, "2024-02-08": 0.5, "2024-05-09": 0.75}, first="2023-07-03")
        (new,) = record(evidence(prices=longer, stored=self.HISTORY)).new
        assert not new.taken

    def test_a_changed_amount_in_the_extended_past_is_taken_once_only(self) -> None:
        stored = [*self.HISTORY, sighting("2023-11-09", 0.45, "2024-06-30", taken=True)]
        longer = paying_prices({"2023-11-09": 0.6, "2024-02-08": 0.5, "2024-05-09": 0.75}, first="2023-07-03")
        (new,) = record(evidence(prices=longer, stored=stored, **STORED)).new
        assert (new.amount, new.taken) == (pytest.approx(0.6), False)

    def test_an_announced_day_that_is_listed_later_is_news(self) -> None:
        listed = [dividend("2024-02-08", 0.5, announced=date(2024, 1, 20)), dividend("2024-05-09", 0.75)]
        (new,) = record(evidence(*listed, stored=self.HISTORY)).new
        assert (str(new.ex_date), str(new.announced)) == ("2024-02-08", "2024-01-20")


class TestSplits:
    HISTORY = record(evidence(dividend("2024-08-08", 0.8))).new
    HALVED = PRICES.assign(**{name: PRICES[name] / 2 for name in ("open", "high", "low", "close", "adj_close")})

    def test_a_source_that_restates_says_nothing_new(self) -> None:
        restated = evidence(dividend("2024-08-08", 0.4), prices=self.HALVED, stored=self.HISTORY)
        assert record(restated).new == ()

    def test_nor_does_a_file_that_does_not_restate(self) -> None:
        as_before = evidence(dividend("2024-08-08", 0.8), prices=self.HALVED, stored=self.HISTORY)
        assert record(as_before).new == ()

    def test_a_real_change_is_news_in_the_new_units(self) -> None:
        changed = evidence(dividend("2024-08-08", 0.5), prices=self.HALVED, stored=self.HISTORY)
        (new,) = record(changed).new
        assert (new.amount, new.close) == (0.5, self.HALVED["close"].iloc[-1])

    BEFORE_SPLIT = (
        sighting("2024-05-09", 1.0, "2024-04-20", close_session=date(2024, 1, 2), close=200.0),
    )  # then 2 for 1

    def test_an_amount_that_the_source_does_not_restate_is_no_news(self) -> None:
        halved = paying_prices({})
        listed = dividend("2024-05-09", 1.0)
        assert record(evidence(listed, prices=halved, adjusted=False, stored=self.BEFORE_SPLIT)).new == ()

    def test_unless_adjusted_closes_show_that_it_is_per_share_of_today(self) -> None:
        halved = paying_prices({"2024-05-09": 1.0})
        recorded = record(evidence(dividend("2024-05-09", 1.0), prices=halved, stored=self.BEFORE_SPLIT))
        assert (told(recorded), rules(recorded)) == ([("2024-05-09", 1.0, "csv")], [])


class TestWithdrawals:
    def stored(self, source: str = "csv") -> Sequence[Sighting]:
        coming = sighting("2024-08-08", 0.8, "2024-06-01", source=source)
        return [*record(evidence()).new, coming]

    def test_an_ex_date_that_moved_is_withdrawn_on_the_old_day(self) -> None:
        moved = record(evidence(dividend("2024-08-15", 0.8), stored=self.stored()))
        assert told(moved) == [("2024-08-15", 0.8, "csv"), ("2024-08-08", 0.0, "csv")]

    def test_what_was_paid_before_the_first_day_of_a_listing_stays(self) -> None:
        stored = [*self.stored(), sighting("2024-02-08", 0.5, "2024-06-02")]
        recorded = record(evidence(dividend("2024-05-09", 0.75), dividend("2024-08-08", 0.8), stored=stored))
        assert "2024-02-08" not in [str(s.ex_date) for s in recorded.new if s.amount == 0]

    def test_a_calendar_with_another_coming_day_withdraws_the_old_one(self) -> None:
        calendar = evidence(dividend("2024-08-15", None), complete=False, stored=self.stored())
        assert told(record(calendar)) == [("2024-08-15", 0.8, "csv"), ("2024-08-08", 0.0, "csv")]

    def test_a_calendar_that_shows_the_last_ex_date_or_nothing_withdraws_nothing(self) -> None:
        last = evidence(dividend("2024-05-09", None), complete=False, stored=self.stored())
        assert record(last).new == ()
        assert record(evidence(complete=False, stored=self.stored())).new == ()

    def test_what_the_adjusted_closes_show_is_disputed_and_not_withdrawn(self) -> None:
        stored = [sighting("2024-02-08", 0.5), sighting("2024-05-09", 0.75)]
        recorded = record(evidence(dividend("2024-02-08", 0.5), stored=stored))
        assert (recorded.new, rules(recorded)) == ((), ["dividend_disputed"])

    def test_another_source_withdraws_nothing(self) -> None:
        listed = [dividend("2024-05-09", 0.75), dividend("2024-08-15", 0.8)]
        assert 0.0 not in [s.amount for s in record(evidence(*listed, stored=self.stored("alpaca"))).new]

    def test_a_list_that_is_empty_now_withdraws_nothing_and_is_named(self) -> None:
        recorded = record(replace(evidence(stored=self.stored()), listing=Listing("A", "csv")))
        assert (recorded.new, rules(recorded)) == ((), ["dividends_not_fetched"])

    def test_bars_withdraw_what_they_listed_before(self) -> None:
        bars = BarDividends("yfinance", (dividend("2024-05-09", 0.75),), date(2024, 1, 2), date(2024, 6, 28))
        stored = [sighting("2024-02-08", 0.5, source="yfinance"), sighting("2024-05-09", 0.75, source="yfinance")]
        assert told(record(evidence(bars=bars, stored=stored))) == [("2024-02-08", 0.0, "yfinance")]

    def test_adjusted_closes_withdraw_nothing(self) -> None:
        stored = [*record(evidence()).new, sighting("2024-03-07", 0.1, source="implied")]
        assert record(evidence(stored=stored)).new == ()

    def test_a_withdrawn_dividend_can_come_back(self) -> None:
        stored = [*self.stored(), sighting("2024-08-08", 0.0, "2024-06-15")]
        assert told(record(evidence(dividend("2024-08-08", 0.8), stored=stored))) == [("2024-08-08", 0.8, "csv")]


class TestFaults:
    def test_a_disputed_dividend_is_named_and_not_added(self) -> None:
        recorded = record(evidence(dividend("2024-02-08", 0.9), dividend("2024-05-09", 0.75)))
        assert (told(recorded), rules(recorded)) == ([("2024-05-09", 0.75, "csv")], ["dividend_disputed"])

    def test_a_late_announcement_is_named_and_was_paid(self) -> None:
        recorded = record(evidence(dividend("2024-05-09", 0.75, announced=date(2024, 5, 20))))
        assert rules(recorded) == ["dividend_announced_late"]
        assert recorded.new[-1].known_from > recorded.new[-1].ex_date

    def test_a_large_step_of_adjusted_closes_is_named_and_was_paid(self) -> None:
        recorded = record(evidence(prices=paying_prices({"2024-02-08": 15.0})))
        assert (told(recorded), rules(recorded)) == ([("2024-02-08", 15.0, "implied")], ["dividend_large"])

    def test_the_findings_are_the_same_on_every_later_day(self) -> None:
        listed = [dividend("2024-02-08", 0.9), dividend("2024-05-09", 0.75)]
        first = record(evidence(*listed))
        again = record(evidence(*listed, stored=first.new))
        assert (again.new, again.findings) == ((), first.findings)


amounts = st.dictionaries(st.sampled_from([str(day.date()) for day in PRICES.index[5::7]]), st.floats(0.1, 5.0))


@settings(deadline=None, max_examples=30)
@given(amounts, amounts)
def test_a_second_look_at_the_same_prices_is_never_news(first: dict[str, float], second: dict[str, float]) -> None:
    stored: list[Sighting] = []
    for dividends in (first, second, second):
        new = record(evidence(prices=paying_prices(dividends), stored=stored or None)).new
        stored += new
    assert new == ()


@settings(deadline=None, max_examples=30)
@given(amounts, st.integers(1, 24))
def test_sightings_of_a_shorter_past_are_those_of_the_whole(dividends: dict[str, float], months: int) -> None:
    prices = paying_prices(dividends)
    cut = prices.iloc[: 5 * months]
    whole = {s.ex_date: s.amount for s in record(evidence(prices=prices)).new}
    part = {s.ex_date: s.amount for s in record(evidence(prices=cut)).new}
    last = pd.Timestamp(cut.index[-1]).date()
    assert part == pytest.approx({day: amount for day, amount in whole.items() if day <= last})


LONG = paying_prices({}, "2024-01-02", "2024-12-31")
days_of_year = st.sampled_from([str(day.date()) for day in LONG.index[30::11]])
listings = st.lists(
    st.dictionaries(days_of_year, st.sampled_from([0.5, 0.6, None]), max_size=6), min_size=2, max_size=6
)


@settings(deadline=None, max_examples=60)
@given(listings, st.booleans())
def test_what_is_seen_today_changes_no_forecast_that_was_made_before(
    changes: list[dict[str, float | None]], complete: bool
) -> None:
    """The source lists, changes, moves and withdraws dividends as it likes from month to month."""
    stored: list[Sighting] | None = None
    until: date | None = None
    sessions, targets = LONG.index[:-1], LONG.index[1:]
    before = pd.Series(0.0, index=sessions[:0])
    for month, listed in enumerate(changes, start=6):
        today = date(2024, month, 15)
        prices = LONG.loc[: str(today)]
        dividends = [dividend(day, amount) for day, amount in sorted(listed.items())]
        seen = evidence(
            *dividends, complete=complete, prices=prices, adjusted=False, seen=today, stored=stored,
            stored_from=None if stored is None else LONG.index[0].date(), stored_until=until,
        )  # fmt: skip
        stored = [*(stored or []), *record(seen).new]
        announced = pd.Series(announced_amounts(stored, sessions, targets), index=sessions)
        assert announced[before.index].tolist() == before.tolist()
        before, until = announced[: str(today)], prices.index[-1].date()
