"""Which dividend a forecast may use: since when it was known, in which units, and how large it may be."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.prices.actions.dividends import (
    LARGEST_SHARE,
    LEAST_SHARE,
    Sighting,
    announced_amounts,
    newest,
    paid_amounts,
    restated,
    usable_shares,
)
from tests.fakes.dividend_prices import sighting

DAYS = pd.bdate_range("2024-03-04", "2024-03-15")  # Monday to Friday of the week after
SESSIONS, TARGETS = DAYS[:-1], DAYS[1:]


def announced(*sightings: Sighting) -> dict[str, float]:
    """What is announced, by the session of the forecast, where it is not 0."""
    amounts = announced_amounts(sightings, SESSIONS, TARGETS)
    return {str(day.date()): amount for day, amount in zip(SESSIONS, amounts, strict=True) if amount}


class TestKnownSince:
    def test_a_forecast_uses_the_dividend_of_its_target_session(self) -> None:
        assert announced(sighting("2024-03-07", 0.5)) == {"2024-03-06": 0.5}

    def test_over_a_weekend_the_target_is_monday(self) -> None:
        assert announced(sighting("2024-03-11", 0.5)) == {"2024-03-08": 0.5}

    @pytest.mark.parametrize(
        ("seen", "counts"),
        [
            ("2024-03-05", True),
            ("2024-03-06", True),  # in the evening after the close of the session of the forecast
            ("2024-03-07", False),  # on the morning of the ex-date, or later
            ("2024-03-20", False),
        ],
    )
    def test_it_counts_from_the_day_on_which_it_was_seen(self, seen: str, counts: bool) -> None:
        assert bool(announced(sighting("2024-03-07", seen=seen))) is counts

    def test_what_is_seen_on_a_weekend_comes_too_late_for_friday(self) -> None:
        assert announced(sighting("2024-03-11", seen="2024-03-09")) == {}

    @pytest.mark.parametrize(
        ("day", "counts"), [("2024-02-01", True), ("2024-03-06", True), ("2024-03-07", False), ("2024-03-08", False)]
    )
    def test_an_announcement_in_the_history_counts_from_its_own_day(self, day: str, counts: bool) -> None:
        history = sighting("2024-03-07", seen="2024-06-01", announced=date.fromisoformat(day), taken=True)
        assert bool(announced(history)) is counts

    def test_a_dividend_seen_before_its_announcement_counts_from_the_announcement(self) -> None:
        assert announced(sighting("2024-03-07", seen="2024-03-01", announced=date(2024, 3, 7))) == {}

    def test_history_before_the_first_fetch_is_taken_as_announced(self) -> None:
        history = sighting("2024-03-07", seen="2024-06-01", taken=True)
        assert history.known_from == date.min
        assert announced(history) == {"2024-03-06": 1.0}

    def test_an_ex_date_that_is_no_target_changes_nothing(self) -> None:
        assert announced(sighting("2024-03-09")) == {}


class TestChanges:
    def test_a_new_amount_replaces_the_earlier_one_from_its_own_day_on(self) -> None:
        first, second = sighting("2024-03-07", 0.5), sighting("2024-03-07", 0.6, seen="2024-03-06")
        assert announced(first, second) == {"2024-03-06": 0.6}
        too_late = sighting("2024-03-07", 0.6, seen="2024-03-07")
        assert announced(first, too_late) == {"2024-03-06": 0.5}

    def test_what_was_seen_last_wins_even_if_it_was_announced_earlier(self) -> None:
        first = sighting("2024-03-07", 0.5, seen="2024-03-05")
        corrected = sighting("2024-03-07", 0.6, seen="2024-03-06", announced=date(2024, 2, 1))
        assert announced(first, corrected) == announced(corrected, first) == {"2024-03-06": 0.6}

    def test_what_was_announced_in_time_but_seen_too_late_was_not_known(self) -> None:
        day = date(2024, 2, 1)
        first = sighting("2024-03-07", 0.5, seen="2024-02-02", announced=day)
        changed = sighting("2024-03-07", 0.8, seen="2024-03-07", announced=day)
        assert announced(changed) == {}
        assert announced(first, changed) == {"2024-03-06": 0.5}

    def test_history_counts_from_its_day_of_announcement(self) -> None:
        history = {"seen": "2024-03-12", "taken": True}
        assert announced(sighting("2024-03-07", 0.5, announced=date(2024, 3, 6), **history)) == {"2024-03-06": 0.5}
        late = sighting("2024-03-07", 0.5, announced=date(2024, 3, 7), **history)
        assert announced(late) == {}
        assert not late.is_assumed
        assert sighting("2024-03-07", 0.5, **history).is_assumed

    def test_of_two_sightings_on_one_day_the_later_one_in_the_file_wins(self) -> None:
        assert announced(sighting("2024-03-07", 0.5), sighting("2024-03-07", 0.6)) == {"2024-03-06": 0.6}

    def test_an_ex_date_that_moves_is_withdrawn_on_its_old_day(self) -> None:
        moved = [sighting("2024-03-07"), sighting("2024-03-07", 0.0, seen="2024-03-05")]
        moved.append(sighting("2024-03-08", seen="2024-03-05"))
        assert announced(*moved) == {"2024-03-07": 1.0}

    def test_what_is_withdrawn_afterwards_was_announced_and_not_paid(self) -> None:
        sightings = [sighting("2024-03-07"), sighting("2024-03-07", 0.0, seen="2024-03-08")]
        assert announced(*sightings) == {"2024-03-06": 1.0}
        assert not paid_amounts(sightings, TARGETS).any()

    def test_paid_is_what_was_seen_last_whenever_that_was(self) -> None:
        sightings = [sighting("2024-03-07", 0.5), sighting("2024-03-07", 0.55, seen="2025-01-01")]
        assert paid_amounts(sightings, TARGETS).tolist() == [0, 0, 0.55, 0, 0, 0, 0, 0, 0]

    def test_newest_rises_by_ex_date(self) -> None:
        sightings = [sighting("2024-06-07"), sighting("2024-03-07"), sighting("2024-06-07", 2.0, seen="2024-02-01")]
        assert [(str(day), s.amount) for day, s in newest(sightings).items()] == [
            ("2024-03-07", 1.0),
            ("2024-06-07", 2.0),
        ]

    def test_nothing_seen_is_nothing_announced(self) -> None:
        assert not announced_amounts([], SESSIONS, TARGETS).any()
        assert not paid_amounts([], TARGETS).any()
        assert newest([]) == {}


class TestUnits:
    CLOSES = pd.Series([100.0, 50.0], index=pd.DatetimeIndex(["2024-01-02", "2024-01-03"]))

    def test_a_later_split_divides_the_amount_as_it_divides_the_close(self) -> None:
        (after,) = restated([sighting("2024-03-07", 1.0)], self.CLOSES / 4)
        assert (after.amount, after.close) == (0.25, 25.0)

    def test_twice_is_the_same_as_once(self) -> None:
        once = restated([sighting("2024-03-07", 1.0)], self.CLOSES / 4)
        assert restated(once, self.CLOSES / 4) == once

    def test_rounding_of_the_close_changes_nothing(self) -> None:
        before = [sighting("2024-03-07", 1.0)]
        assert restated(before, self.CLOSES * 1.00005) == before

    def test_a_session_that_is_no_longer_stored_changes_nothing(self) -> None:
        before = [sighting("2024-03-07", close_session=date(2020, 1, 2))]
        assert restated(before, self.CLOSES) == before

    @pytest.mark.parametrize(
        ("share", "used"),
        [(0.0, False), (LEAST_SHARE, False), (LEAST_SHARE * 1.01, True), (LARGEST_SHARE, True), (0.1001, False)],
    )
    def test_only_shares_within_limits_are_used(self, share: float, used: bool) -> None:
        assert usable_shares(np.array([share * 50.0]), np.array([50.0])).tolist() == [share if used else 0.0]


days = st.dates(date(2024, 3, 1), date(2024, 3, 20))
sightings_of_a_ticker = st.lists(
    st.builds(
        Sighting,
        ex_date=days,
        amount=st.sampled_from([0.0, 0.5, 1.0]),
        close_session=st.just(date(2024, 1, 2)),
        close=st.just(100.0),
        source=st.just("csv"),
        seen=days,
        announced=st.none() | days,
        taken=st.booleans(),
    ),
    max_size=12,
)


@given(sightings_of_a_ticker, days)
@settings(max_examples=200, deadline=None)
def test_what_became_known_after_a_day_changes_nothing_up_to_it(sightings: list[Sighting], day: date) -> None:
    until = pd.Timestamp(day) >= SESSIONS
    known = [s for s in sightings if s.known_from <= day]
    whole, cut = (announced_amounts(some, SESSIONS, TARGETS)[until] for some in (sightings, known))
    assert whole.tolist() == cut.tolist()


@given(sightings_of_a_ticker, st.integers(0, 8))
@settings(max_examples=100, deadline=None)
def test_an_announced_amount_was_seen_in_time(sightings: list[Sighting], place: int) -> None:
    amount = announced_amounts(sightings, SESSIONS, TARGETS)[place]
    own = [s for s in sightings if s.ex_date == TARGETS[place].date()]
    in_time = [s for s in own if s.known_from <= SESSIONS[place].date()]
    assert amount == (max(in_time, key=lambda s: s.seen).amount if not _tied(in_time) else amount)
    assert not amount or in_time


def _tied(sightings: list[Sighting]) -> bool:
    """Whether there is none, or the last day of seeing has several."""
    last = max((s.seen for s in sightings), default=None)
    return last is None or sum(s.seen == last for s in sightings) > 1
