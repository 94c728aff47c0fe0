"""The market's prices around a table: before it begins, in its gaps, after its end, and across splits."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pandas as pd
import pytest

from mlops_cli.exchange.market.market import DailyBar, Market, Series
from mlops_cli.exchange.market.price_tables import MemoryTables
from mlops_cli.market.hours import Session, us_hours
from tests.fakes.small_exchange import table

FRIDAY, MONDAY, TUESDAY = date(2024, 6, 28), date(2024, 7, 1), date(2024, 7, 2)


def market(**tables: pd.DataFrame) -> Market:
    return Market(MemoryTables(tables or {"AAA": table()}), us_hours())


def session(day: date) -> Session:
    (found,) = us_hours().between(day, day)
    return found


def test_a_series_finds_its_bars_by_day() -> None:
    series = Series.of(table(), {}, 3.0)
    assert (series.version, len(series.days), series.days[0]) == (3.0, 5, FRIDAY)
    assert series.bars[series.places[MONDAY]] == DailyBar(102, 110, 98, 105, 1000)
    assert series.last_place(date(2024, 6, 27)) is None
    assert series.last_place(date(2024, 6, 30)) == 0
    assert series.last_place(date(2030, 1, 1)) == 4


def test_the_path_of_a_session_is_its_bar() -> None:
    path = market().path("AAA", session(MONDAY))
    assert path is not None
    assert (path.points, path.volume, path.traded) == ((102, 98, 110, 105), 1000, True)


def test_before_the_table_there_is_no_price() -> None:
    early = datetime(2024, 6, 27, 16, tzinfo=UTC)
    prices = market()
    assert prices.path("AAA", session(early.date())) is None
    assert prices.price("AAA", early) is None
    assert prices.close_before("AAA", FRIDAY) is None
    assert not prices.listed("AAA", early)


def test_a_session_that_the_table_lacks_is_not_traded() -> None:
    prices = market(AAA=table().drop(pd.Timestamp(MONDAY)))
    path = prices.path("AAA", session(MONDAY))
    assert path is not None
    assert (path.points, path.volume, path.traded) == ((100.0,) * 4, 0.0, False)


def test_after_the_table_its_last_close_is_traded() -> None:
    path = market().path("AAA", session(date(2024, 7, 8)))
    assert path is not None
    assert (path.points, path.volume, path.traded) == ((94.0,) * 4, 1000, True)


@pytest.mark.parametrize(
    ("now", "price", "at"),
    [
        ("2024-07-01T13:30:00", 102, "2024-07-01T13:30:00"),
        ("2024-07-01T14:35:00", 100, "2024-07-01T14:35:00"),
        ("2024-07-01T20:00:00", 105, "2024-07-01T20:00:00"),
        ("2024-07-02T03:00:00", 105, "2024-07-01T20:00:00"),
        ("2024-07-02T13:29:59", 105, "2024-07-01T20:00:00"),
        ("2024-07-04T16:00:00", 93, "2024-07-03T17:00:00"),  # a holiday after a half day
    ],
)
def test_the_last_price_and_its_time(now: str, price: float, at: str) -> None:
    last = market().price("AAA", datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert last is not None
    assert last.price == pytest.approx(price)
    assert last.at == datetime.fromisoformat(at).replace(tzinfo=UTC)


def test_splits_multiply_from_their_days_on() -> None:
    prices = market()
    prices.split("AAA", MONDAY, 2.0)
    prices.split("AAA", TUESDAY, 3.0)
    days = (FRIDAY, MONDAY, TUESDAY)
    assert [prices.split_factor("AAA", day) for day in days] == [1.0, 2.0, 6.0]
    assert prices.split_factor("BBB", TUESDAY) == 1.0
    path = prices.path("AAA", session(TUESDAY))
    assert path is not None
    assert path.points == pytest.approx((104 / 6, 106 / 6, 90 / 6, 92 / 6))
    assert path.volume == 6000


def test_the_close_before_a_split_is_in_its_shares() -> None:
    prices = market()
    prices.split("AAA", TUESDAY, 4.0)
    assert prices.close_before("AAA", MONDAY) == 100
    assert prices.close_before("AAA", TUESDAY) == 105 / 4
    assert prices.close_before("AAA", date(2024, 7, 3)) == 92 / 4


def test_a_delisted_symbol_is_listed_until_its_day() -> None:
    prices = market()
    prices.delisted["AAA"] = TUESDAY
    assert prices.listed("AAA", datetime(2024, 7, 1, 16, tzinfo=UTC))
    assert prices.listed("AAA", datetime(2024, 7, 2, 13, tzinfo=UTC))  # before the opening
    assert not prices.listed("AAA", datetime(2024, 7, 2, 13, 30, tzinfo=UTC))


def test_symbols_without_a_table() -> None:
    assert market().has("AAA")
    assert not market().has("BBB")
