"""Dividends that lie beside the exchange's price tables: who gets them, how much, and that nothing is paid twice."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from mlops_cli.errors import DataError
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Account
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import MemoryTables, ParquetTables
from mlops_cli.market.hours import parse_time, us_hours
from mlops_cli.prices.actions.dividends import Sighting
from mlops_cli.prices.actions.sightings_file import dividends_file, write_sightings
from tests.fakes.small_exchange import EXACT, announce, send, table, until

EX_DATE = date(2024, 7, 2)
"""The first session's shares are bought on Monday, 2024-07-01."""


def sighting(ex_date: date = EX_DATE, amount: float = 0.5, **changes: object) -> Sighting:
    values = {"close_session": date(2024, 6, 28), "close": 100.0, "source": "csv", "seen": date(2024, 7, 1)}
    return Sighting(ex_date, amount, **{**values, **changes})  # type: ignore[arg-type]


def exchange_of(tables: MemoryTables | ParquetTables) -> tuple[Exchange, Account]:
    exchange = Exchange(Market(tables, us_hours()), Clock(parse_time("2024-06-28T20:30:00+00:00")), EXACT)
    return exchange, exchange.account("key", "secret")


def paying(amount: float = 0.5) -> tuple[Exchange, Account]:
    return exchange_of(MemoryTables({"AAA": table()}, {"AAA": {EX_DATE: amount}}))


def dividends(account: Account) -> list[dict]:
    return [one.body for one in account.activities if one.body["activity_type"] == "DIV"]


def test_holders_of_the_close_before_are_paid_and_sellers_pay() -> None:
    exchange, holder = paying()
    seller, late = exchange.account("short", "secret"), exchange.account("late", "secret")
    send(exchange, holder)
    send(exchange, seller, side="sell", qty=4)
    until(exchange, "2024-07-01T21:00:00")
    before = {account.key: account.cash for account in (holder, seller)}
    send(exchange, late, qty=6)
    until(exchange, "2024-07-02T21:00:00")
    assert holder.cash - before["key"] == Decimal(5)
    assert seller.cash - before["short"] == Decimal(-2)
    assert (late.positions["AAA"].qty, dividends(late)) == (6, []), "bought at the open of the ex-date"


def test_it_is_booked_as_alpaca_books_it() -> None:
    exchange, account = paying()
    send(exchange, account)
    until(exchange, "2024-07-05T21:00:00")
    (body,) = dividends(account)
    assert (body["symbol"], body["qty"], body["net_amount"], body["per_share_amount"]) == ("AAA", "10", "5", "0.5")
    assert body["date"] == "2024-07-02T00:00:00Z"


def test_who_sells_at_the_open_of_the_ex_date_is_paid_too() -> None:
    exchange, account = paying()
    send(exchange, account)
    until(exchange, "2024-07-01T21:00:00")
    send(exchange, account, side="sell")
    until(exchange, "2024-07-02T21:00:00")
    assert not account.positions
    assert [body["net_amount"] for body in dividends(account)] == ["5"]


def test_an_announced_dividend_takes_the_place_of_the_listed_one() -> None:
    exchange, account = paying()
    send(exchange, account)
    announce(exchange, type="dividend", amount="0.3", date="2024-07-02")
    until(exchange, "2024-07-02T21:00:00")
    assert [body["net_amount"] for body in dividends(account)] == ["3"]


def test_after_a_split_it_is_paid_for_the_new_shares() -> None:
    exchange, account = paying()
    send(exchange, account)
    announce(exchange, type="split", ratio="4", date="2024-07-02")
    until(exchange, "2024-07-02T21:00:00")
    (body,) = dividends(account)
    assert (body["qty"], body["per_share_amount"], body["net_amount"]) == ("40", "0.125", "5")


def test_a_new_name_is_paid_and_a_delisted_company_is_not() -> None:
    exchange, account = paying()
    send(exchange, account)
    announce(exchange, type="rename", new_symbol="NEW", date="2024-07-02")
    until(exchange, "2024-07-02T21:00:00")
    assert [body["symbol"] for body in dividends(account)] == ["NEW"]
    exchange, account = paying()
    send(exchange, account)
    announce(exchange, type="delisting", close_positions=False, date="2024-07-02")
    until(exchange, "2024-07-02T21:00:00")
    assert (account.positions["AAA"].qty, dividends(account)) == (10, [])


def test_a_part_that_was_spun_off_does_not_pay_its_mother_s_dividend() -> None:
    exchange, account = exchange_of(MemoryTables({"AAA": table()}, {"AAA": {date(2024, 7, 3): 0.5}}))
    send(exchange, account)
    announce(exchange, type="spin_off", new_symbol="PART", ratio="1", price="5", date="2024-07-02")
    until(exchange, "2024-07-03T21:00:00")
    assert account.positions["PART"].qty == 10
    assert [body["symbol"] for body in dividends(account)] == ["AAA"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table().to_parquet(tmp_path / "AAA.parquet")
    return tmp_path


def per_share(folder: Path) -> dict[date, float]:
    tables = ParquetTables([folder])
    return tables.dividends("AAA", tables.table("AAA"))


def test_a_folder_without_sightings_pays_nothing(folder: Path) -> None:
    assert per_share(folder) == {}


def test_the_newest_sighting_of_an_ex_date_counts_and_a_withdrawn_one_pays_nothing(folder: Path) -> None:
    later = date(2024, 7, 3)
    close = float(table()["close"].iloc[0])
    known = {"close_session": table().index[0].date(), "close": close}
    seen = [sighting(amount=0.4, **known), sighting(amount=0.5, seen=date(2024, 7, 2), **known)]
    seen += [sighting(later, **known), sighting(later, 0.0, seen=date(2024, 7, 2), **known)]
    write_sightings(dividends_file(folder, "AAA"), seen)
    assert per_share(folder) == {EX_DATE: 0.5}


def test_an_amount_follows_a_split_of_the_table(folder: Path) -> None:
    close = float(table()["close"].iloc[0])
    old = sighting(close_session=table().index[0].date(), close=4 * close, amount=2.0)
    write_sightings(dividends_file(folder, "AAA"), [old])
    assert per_share(folder) == {EX_DATE: pytest.approx(0.5)}


def test_new_sightings_are_a_new_version_of_the_table(folder: Path) -> None:
    os.utime(folder / "AAA.parquet", (10, 10))
    tables = ParquetTables([folder])
    assert tables.version("AAA") == 10
    path = dividends_file(folder, "AAA")
    write_sightings(path, [sighting()])
    os.utime(path, (12, 12))
    assert tables.version("AAA") == 12


def test_a_damaged_file_of_sightings_is_named_and_stops_trade_until_it_is_whole(folder: Path) -> None:
    path = dividends_file(folder, "AAA")
    path.write_text("nonsense\n")
    exchange, account = exchange_of(ParquetTables([folder]))
    with pytest.raises(DataError, match=r"AAA\.dividends\.csv:1"):
        send(exchange, account)
    path.unlink()
    send(exchange, account)
    until(exchange, "2024-07-02T21:00:00")
    assert account.positions["AAA"].qty == 10
