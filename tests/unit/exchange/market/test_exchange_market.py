"""Prices and bars at any time: nothing of the future, splits, tables that grow, and tables that are damaged."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

from mlops_cli.errors import DataError
from mlops_cli.exchange.api.bars import Chart, TimeSpan, read_timeframe
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import RefusedError
from mlops_cli.exchange.market import market as market_module
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import MemoryTables, ParquetTables
from mlops_cli.market.hours import Session, midnight, parse_time, us_hours
from tests.fakes.exchange_server import exchange_server, some_prices
from tests.fakes.small_exchange import table

TABLES = some_prices()
NOON = datetime(2024, 3, 12, 16, 0, tzinfo=UTC)


@pytest.fixture
def market() -> Market:
    return Market(MemoryTables(TABLES), us_hours())


def future_changed(moment: datetime) -> Market:
    """The same tables, but everything after the moment's session is another."""
    day = pd.Timestamp(moment.date())
    changed = {
        name: pd.concat([table[:day], table[day + pd.Timedelta(days=1) :] * 3]) for name, table in TABLES.items()
    }
    return Market(MemoryTables(changed), us_hours())


def bars(market: Market, symbol: str, frame: str, span: TimeSpan, *, split: bool = False) -> list[dict[str, Any]]:
    return list(Chart(market, symbol, span.end, split).bars(read_timeframe(frame), span))


@pytest.mark.parametrize("frame", ["1Min", "17Min", "2Hour", "1Day", "1Week", "1Month"])
def test_bars_know_nothing_of_the_future(market: Market, frame: str) -> None:
    span = TimeSpan(NOON - timedelta(days=40), NOON)
    found = bars(market, "AAPL", frame, span)
    assert found == bars(future_changed(NOON), "AAPL", frame, span)
    price = market.price("AAPL", NOON)
    assert price is not None
    assert found[-1]["c"] == pytest.approx(price[0], abs=1e-4)
    times = [parse_time(bar["t"]) for bar in found]
    assert times == sorted(set(times))
    assert all(bar["l"] <= min(bar["o"], bar["c"]) <= max(bar["o"], bar["c"]) <= bar["h"] for bar in found)


def test_bars_of_minutes_add_up_to_the_day(market: Market) -> None:
    close = datetime(2024, 3, 12, 20, 0, tzinfo=UTC)
    span = TimeSpan(midnight(close.date()), close - timedelta(microseconds=1))
    minutes = bars(market, "MSFT", "1Min", span)
    day = bars(market, "MSFT", "1Day", TimeSpan(span.start, close))[0]
    assert len(minutes) == 390
    assert (minutes[0]["o"], minutes[-1]["c"]) == pytest.approx((day["o"], day["c"]), abs=1e-3)
    assert max(bar["h"] for bar in minutes) == day["h"]
    assert min(bar["l"] for bar in minutes) == day["l"]
    row = TABLES["MSFT"].loc["2024-03-12"]
    assert [day[name] for name in "ohlc"] == pytest.approx(row[["open", "high", "low", "close"]].tolist(), abs=1e-4)
    assert sum(bar["v"] for bar in minutes) == pytest.approx(row["volume"], rel=1e-3)


def test_a_split_divides_what_comes_after_it(market: Market) -> None:
    day = NOON.date()
    plain = bars(market, "AAPL", "1Day", TimeSpan(NOON - timedelta(days=5), NOON))
    market.split("AAPL", day, 4.0)
    raw = bars(market, "AAPL", "1Day", TimeSpan(NOON - timedelta(days=5), NOON))
    adjusted = bars(market, "AAPL", "1Day", TimeSpan(NOON - timedelta(days=5), NOON), split=True)
    assert [bar["c"] for bar in raw[:-1]] == [bar["c"] for bar in plain[:-1]]
    assert raw[-1]["c"] == pytest.approx(plain[-1]["c"] / 4, abs=1e-3)
    assert [bar["c"] for bar in adjusted] == pytest.approx([bar["c"] / 4 for bar in plain], abs=1e-3)
    assert adjusted[0]["v"] == pytest.approx(plain[0]["v"] * 4, rel=1e-3)


@pytest.mark.parametrize("text", ["", "5", "1Year", "0Min", "24Hour", "2Day"])
def test_other_timeframes_are_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="invalid timeframe"):
        read_timeframe(text)


def test_a_table_that_grows_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "CHECK_SECONDS", 0)
    file = tmp_path / "AAPL.parquet"
    TABLES["AAPL"].iloc[:200].to_parquet(file)
    market = Market(ParquetTables([tmp_path]), us_hours())
    known = len(market.series("AAPL").days)
    TABLES["AAPL"].iloc[:201].to_parquet(file)
    os.utime(file, ns=(1, 1))
    market.forget_changed_tables()
    assert (known, len(market.series("AAPL").days)) == (200, 201)


def test_a_damaged_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "BAD.parquet").write_bytes(b"no parquet")
    TABLES["AAPL"].drop(columns="high").to_parquet(tmp_path / "AAPL.parquet")
    tables = ParquetTables([tmp_path])
    with pytest.raises(DataError, match="damaged"):
        tables.table("BAD")
    with pytest.raises(DataError, match="not a price table"):
        tables.table("AAPL")
    with exchange_server(exchange=Exchange(Market(tables, us_hours()), Clock())) as server:
        headers = {"APCA-API-KEY-ID": "a", "APCA-API-SECRET-KEY": "b"}
        answer = requests.get(f"{server.url}/v2/assets/BAD", headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (500, 50010000)
        assert "damaged" in answer.json()["message"]


def test_real_time_is_real(market: Market) -> None:
    exchange = Exchange(market, Clock())
    exchange.catch_up()
    assert datetime.now(UTC) - exchange.state.now < timedelta(seconds=5)
    exchange.state.clock.advance(exchange.state.now + timedelta(days=3))
    exchange.catch_up()
    assert exchange.state.now > datetime.now(UTC)


def session_of(market: Market, day: date) -> Session:
    (session,) = market.hours.between(day, day)
    return session


def test_a_renamed_symbol_has_the_prices_of_the_old_one() -> None:
    market = Market(MemoryTables({"AAA": table()}), us_hours())
    market.split("AAA", date(2024, 7, 1), 2.0)
    market.rename("AAA", "NEW", date(2024, 7, 2))
    for day in (date(2024, 6, 28), date(2024, 7, 1), date(2024, 7, 2)):
        assert market.path("NEW", session_of(market, day)) == market.path("AAA", session_of(market, day))
    assert market.has("NEW")
    assert market.symbols == {"AAA", "NEW"}
    noon = datetime(2024, 7, 2, 16, tzinfo=UTC)
    assert (market.listed("AAA", noon), market.listed("NEW", noon)) == (False, True)
    market.split("NEW", date(2024, 7, 3), 3.0)
    assert market.split_factor("NEW", date(2024, 7, 3)) == 6
    assert market.split_factor("AAA", date(2024, 7, 3)) == 2


def test_a_part_of_a_company_begins_at_its_price_and_follows_the_company() -> None:
    market = Market(MemoryTables({"AAA": table()}), us_hours())
    day, session = date(2024, 7, 1), session_of(Market(MemoryTables({}), us_hours()), date(2024, 7, 1))
    before = market.path("AAA", session)
    market.spin_off("AAA", "PART", session, ratio=0.5, price=20.4)  # a tenth of 102
    company, part = market.path("AAA", session), market.path("PART", session)
    assert before is not None
    assert company is not None
    assert part is not None
    assert part.points == pytest.approx([point * 0.2 for point in before.points])
    assert company.points == pytest.approx([point * 0.9 for point in before.points])
    assert part.volume == company.volume == before.volume
    assert (market.path("PART", session_of(market, date(2024, 6, 28))), market.first_day("PART")) == (None, day)
    assert not market.listed("PART", datetime(2024, 6, 28, 16, tzinfo=UTC))
    market.split("AAA", date(2024, 7, 2), 4.0)
    later = market.path("PART", session_of(market, date(2024, 7, 2)))
    assert later is not None
    assert later.points[0] == pytest.approx(104 * 0.2), "a split of the company does not concern the part"


def test_a_spin_off_of_a_renamed_company_and_back() -> None:
    market = Market(MemoryTables({"AAA": table()}), us_hours())
    monday, tuesday = session_of(market, date(2024, 7, 1)), session_of(market, date(2024, 7, 2))
    market.spin_off("AAA", "PART", monday, ratio=1.0, price=51.0)
    market.rename("PART", "REST", tuesday.day)
    market.spin_off("REST", "BIT", tuesday, ratio=1.0, price=13.0)
    paths = {symbol: market.path(symbol, tuesday) for symbol in ("AAA", "REST", "BIT")}
    assert {symbol: path and round(path.points[0], 6) for symbol, path in paths.items()} == {
        "AAA": 52.0, "REST": 39.0, "BIT": 13.0,
    }  # fmt: skip
