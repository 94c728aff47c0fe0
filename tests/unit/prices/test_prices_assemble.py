"""How stored bars, new bars and the period become a table, for any cut of one history."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.rules import Repair
from mlops_cli.prices.sources.source import RawBars
from mlops_cli.prices.table import PriceTable, Provenance, assemble, content_hash
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2020-01-01"), pd.Timestamp("2020-06-30"))
ROWS = 60
BARS = generated_bars(SESSIONS[:ROWS], seed=2).rename_axis("session")


def assembled(
    frame: pd.DataFrame, stored: pd.DataFrame | None = None, start: int | None = None, end: int | None = None
) -> PriceTable:
    raw = RawBars("T", frame, "a test", replaces_all=stored is None)
    first, last = (None if row is None else SESSIONS[row].date() for row in (start, end))
    return assemble(raw, stored, "XNYS", first, last, "now")


@settings(max_examples=40)
@given(cut=st.integers(1, ROWS - 1), overlap=st.integers(0, 10))
def test_any_cut_into_stored_and_new_gives_the_whole(cut, overlap):
    table = assembled(BARS.iloc[max(0, cut - overlap) :], stored=BARS.iloc[:cut])
    pd.testing.assert_frame_equal(table.frame, BARS)
    assert table.provenance.sha256 == content_hash(BARS)


@settings(max_examples=40)
@given(start=st.integers(0, ROWS - 1), length=st.integers(0, ROWS))
def test_any_period_is_that_part_of_the_whole(start, length):
    end = min(start + length, ROWS - 1)
    table, provenance = assembled(BARS, start=start, end=end)
    pd.testing.assert_frame_equal(table, BARS.iloc[start : end + 1], check_freq=False)
    assert (provenance.first, provenance.last) == (str(SESSIONS[start].date()), str(SESSIONS[end].date()))
    assert provenance.sessions == len(table)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_new_rows_does_not_matter(random):
    rows = list(range(30, ROWS))
    random.shuffle(rows)
    table = assembled(BARS.iloc[rows], stored=BARS.iloc[:30])
    pd.testing.assert_frame_equal(table.frame, BARS)


def test_what_was_appended_can_be_appended_again():
    once = assembled(BARS.iloc[30:], stored=BARS.iloc[:30])
    again = assembled(BARS.iloc[30:], stored=once.frame)
    pd.testing.assert_frame_equal(again.frame, once.frame)
    assert again.provenance == once.provenance


def test_an_empty_stored_table_is_as_good_as_none():
    table = assembled(BARS, stored=BARS.iloc[:0])
    pd.testing.assert_frame_equal(table.frame, BARS)


def test_a_gap_between_stored_and_new_is_noted_not_filled():
    table, provenance = assembled(BARS.iloc[40:], stored=BARS.iloc[:37])
    assert len(table) == ROWS - 3
    assert provenance.repairs == (Repair("missing_sessions", 3, tuple(str(day.date()) for day in SESSIONS[37:40])),)


def test_new_rows_from_before_the_stored_ones_replace_them_all():
    table = assembled(BARS.iloc[:20], stored=BARS.iloc[10:])
    pd.testing.assert_frame_equal(table.frame, BARS.iloc[:20])


@pytest.mark.parametrize(("start", "end"), [(ROWS + 5, None), (ROWS + 5, ROWS + 20)])
def test_a_period_after_the_data_says_what_there_is(start, end):
    with pytest.raises(DataError) as raised:
        assembled(BARS, start=start, end=end)
    assert f"a test contains 2020-01-02 to {SESSIONS[ROWS - 1].date()}" in raised.value.message
    assert f"between {SESSIONS[start].date()} and {SESSIONS[end].date() if end else 'the end'}" in raised.value.message


def test_repairs_are_those_from_the_start_of_the_period_on():
    broken = BARS.copy()
    broken.iloc[[5, 50], 3] = float("nan")
    _, provenance = assembled(broken, start=10)
    assert provenance.repairs[0] == Repair("nulls", 1, (str(SESSIONS[50].date()),))


def test_stored_rows_are_not_changed():
    stored, before = BARS.iloc[:30].copy(), BARS.iloc[:30].copy()
    assembled(BARS.iloc[25:], stored=stored)
    pd.testing.assert_frame_equal(stored, before)


REPAIRS = st.lists(
    st.builds(
        Repair,
        st.sampled_from(["nulls", "unit_100x", "missing_sessions"]),
        st.integers(1, 9),
        st.lists(st.sampled_from("abc"), max_size=5).map(tuple),
    ),
    max_size=3,
    unique_by=lambda repair: repair.rule,
)


def provenance(repairs: list[Repair]) -> Provenance:
    return Provenance("T", "a test", "XNYS", "now", "2020-01-02", "2020-03-27", ROWS, tuple(repairs), "0" * 64)


@given(REPAIRS)
def test_provenance_survives_being_written_and_read(repairs):
    assert Provenance.from_dict(provenance(repairs).to_dict()) == provenance(repairs)


@given(REPAIRS, REPAIRS)
def test_carried_repairs_add_up_but_for_missing_sessions(earlier, later):
    carried = {repair.rule: repair for repair in provenance(later).carrying(provenance(earlier)).repairs}
    counts = [{repair.rule: repair.count for repair in repairs} for repairs in (earlier, later)]
    for rule in ("nulls", "unit_100x"):
        assert (carried[rule].count if rule in carried else 0) == sum(count.get(rule, 0) for count in counts)
    assert ("missing_sessions" in carried) == ("missing_sessions" in counts[1])
    assert all(len(repair.examples) <= 5 for repair in carried.values())


@pytest.mark.parametrize("key", ["repairs", "sha256", "ticker"])
def test_a_provenance_without_a_key_is_damaged(key):
    values = provenance([]).to_dict()
    del values[key]
    with pytest.raises(DataError, match="a provenance record is damaged"):
        Provenance.from_dict(values)


@pytest.mark.parametrize("repair", [{"rule": "nulls"}, {"rule": "nulls", "count": "x", "examples": []}, 3])
def test_a_provenance_with_a_malformed_repair_is_damaged(repair):
    values = {**provenance([]).to_dict(), "repairs": [repair]}
    with pytest.raises(DataError, match="a provenance record is damaged"):
        Provenance.from_dict(values)


def assembled_at(time: str, frame: pd.DataFrame = BARS, exchange: str = "XNYS") -> PriceTable:
    return assemble(RawBars("T", frame, "a test"), None, exchange, None, None, time)


@pytest.mark.parametrize(
    ("day", "time", "dropped"),
    [
        (-1, "20:30", 0),  # New York closes at 16:00, which is 20:00 in UTC
        (-1, "19:59", 1),
        (-2, "20:30", 1),
        (-5, "12:00", 5),
        (-10, "20:30", 9),
    ],
)
def test_sessions_that_had_not_closed_are_dropped_and_told(day, time, dropped):
    table, provenance = assembled_at(f"{BARS.index[day].date()}T{time}:00+00:00")
    pd.testing.assert_frame_equal(table, BARS.iloc[: ROWS - dropped], check_freq=False)
    told = [repair for repair in provenance.repairs if repair.rule == "unfinished_sessions"]
    assert [repair.count for repair in told] == [dropped] * (dropped > 0)
    assert all(str(BARS.index[-1].date()) in repair.examples for repair in told if dropped < 5)


def test_many_rows_of_the_future_are_refused():
    with pytest.raises(DataError) as raised:
        assembled_at(f"{BARS.index[-20].date()}T22:00:00+00:00")
    assert f"19 rows are dated after {BARS.index[-20].date()}, the last session that has closed" in raised.value.message
    assert "source.dates" in raised.value.hint


def test_rows_of_the_future_alone_are_refused():
    with pytest.raises(DataError, match="2 rows are dated after 2020-01-08"):
        assembled_at("2020-01-08T22:00:00+00:00", BARS.iloc[5:7])


def test_an_unfinished_bar_that_is_stored_or_appended_does_not_stay():
    raw = RawBars("T", BARS.iloc[30:], "a test", replaces_all=False)
    table = assemble(raw, BARS.iloc[:30], "XNYS", None, None, f"{BARS.index[-1].date()}T15:00:00+00:00").frame
    pd.testing.assert_frame_equal(table, BARS.iloc[:-1], check_freq=False)


def test_the_exchange_decides_when_a_session_has_closed():
    days = sessions("XTKS", pd.Timestamp("2020-03-02"), pd.Timestamp("2020-03-13"))
    bars = generated_bars(days).rename_axis("session")
    assert len(assembled_at("2020-03-13T07:00:00+00:00", bars, "XTKS").frame) == len(days)  # Tokyo closed at 06:00
    assert len(assembled_at("2020-03-13T05:00:00+00:00", bars, "XTKS").frame) == len(days) - 1


def test_without_a_time_rows_of_any_day_are_accepted():
    assert len(assembled_at("").frame) == ROWS


@pytest.mark.parametrize("new_rows", [0, 1, 10])
def test_moves_that_were_explained_when_they_were_stored_are_not_refused_later(new_rows):
    row, until = 30, ROWS - new_rows
    paid = BARS["close"].iloc[row - 1] * 0.1873
    factor = [1 - 0.1873 if number < row else 1.0 for number in range(ROWS)]
    fallen = BARS.mul([1.0 if number < row else 0.8127 for number in range(ROWS)], axis=0)
    bars = fallen.assign(adj_close=(fallen["close"] * factor).round(2), dividends=0.0)
    bars.loc[bars.index[row], "dividends"] = paid
    stored = assembled(bars.iloc[:until])
    again = assembled(bars.iloc[until:], stored.frame)
    pd.testing.assert_frame_equal(again.frame, assembled(bars).frame)
    with pytest.raises(DataError, match="nothing in the data explains it"):
        assembled(bars.drop(columns="dividends"))
