"""What is kept, and what is not lost: restarts, one exchange to a database, failed writes, damaged price tables."""

from __future__ import annotations

import sqlite3
import threading
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.errors import ConfigError, DataError, ServiceError
from mlops_cli.exchange.api.action_requests import read_action
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.corporate_actions import announce
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import AssetFlags, MarketRules, RefusedError
from mlops_cli.exchange.book.store import Store
from mlops_cli.exchange.market import market as market_module
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import ParquetTables
from mlops_cli.market.hours import parse_time, us_hours
from tests.fakes.exchange_server import new_exchange
from tests.fakes.small_exchange import EXACT, FRIDAY_EVENING, exchange_with, send, table, until


def on_disk(database: Path, rules: MarketRules = EXACT) -> Exchange:
    return new_exchange({"AAA": table()}, FRIDAY_EVENING, database, rules)


def test_the_sequence_of_orders_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = on_disk(tmp_path / "x.db")
    account = first.account("key", "secret")
    for _ in range(3):
        with pytest.raises(RefusedError, match="buying power"):
            send(first, account, qty=9999)
    before = send(first, account)
    assert before.sequence == 1
    for _ in range(2):
        send(first, account)
    first.cancel(account, before.id)
    first.commit()
    first.close()
    with sqlite3.connect(tmp_path / "x.db") as database:  # as a database of an earlier version was
        database.execute("UPDATE orders SET body = json_set(body, '$.sequence', 40) WHERE id = ?", (before.id,))
    second = on_disk(tmp_path / "x.db")
    assert send(second, second.state.accounts["key"]).sequence == 41
    second.close()


def test_what_was_taken_of_the_volume_is_known_after_a_restart(tmp_path: Path) -> None:
    rules = MarketRules(0, 0, 0.05)  # 50 shares of a session's 1000
    first = on_disk(tmp_path / "x.db", rules)
    account = first.account("key", "secret")
    send(first, account, qty=30)
    until(first, "2024-07-02T13:30:00")
    send(first, account, qty=30)
    first.catch_up()
    first.commit()
    first.close()
    second = on_disk(tmp_path / "x.db", rules)
    assert second.state.taken == first.state.taken == {(account.id, "AAA"): Decimal(30)}
    again = send(second, second.state.accounts["key"], qty=30)
    second.catch_up()
    assert again.filled_qty == 20
    second.close()


def test_a_database_is_one_exchanges(tmp_path: Path) -> None:
    first = on_disk(tmp_path / "x.db")
    with pytest.raises(ServiceError, match=r"another exchange is running on this database\n.*--database"):
        on_disk(tmp_path / "x.db")
    closing = threading.Thread(target=first.close)  # as a server's thread does
    closing.start()
    closing.join()
    on_disk(tmp_path / "x.db").close()
    (tmp_path / "y.db").write_bytes(b"nothing of the kind" * 100)
    for _ in range(2):
        with pytest.raises(ConfigError, match="no database of an exchange"):
            Store(tmp_path / "y.db")
    with pytest.raises(ConfigError, match="the database cannot be created"):
        Store(tmp_path / "x.db" / "z.db")


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    exchange = on_disk(tmp_path / "x.db")
    exchange._store._database.execute("PRAGMA busy_timeout = 50")
    account = exchange.account("key", "secret")
    exchange.commit()
    with sqlite3.connect(tmp_path / "x.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        send(exchange, account, client_order_id="one")
        for _ in range(2):
            with pytest.raises(ServiceError, match="nothing can be written: database is locked"):
                exchange.commit()
        other.execute("ROLLBACK")
    other.close()
    send(exchange, account, client_order_id="two")
    exchange.commit()
    exchange.close()
    again = on_disk(tmp_path / "x.db")
    assert set(again.state.accounts["key"].by_client_id) == {"one", "two"}
    again.close()


@pytest.fixture
def on_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    """An exchange whose price tables AAA and BBB may be damaged, and are looked at with every request."""
    monkeypatch.setattr(market_module, "CHECK_SECONDS", 0)
    for name in ("AAA", "BBB"):
        table().to_parquet(tmp_path / f"{name}.parquet")
    tables = ParquetTables([tmp_path])
    return Exchange(Market(tables, us_hours()), Clock(parse_time(FRIDAY_EVENING)), EXACT)


@pytest.mark.parametrize("damage", ["damaged", "gone"])
@pytest.mark.parametrize("start", ["2024-06-28T23:40:00", "2024-07-01T13:45:00"])
def test_a_damaged_table_costs_nobody_a_fill(on_files: Exchange, tmp_path: Path, damage: str, start: str) -> None:
    """At the opening, or in the midst of a session: 100 is reached at 14:35, and the day's close is 105."""
    exchange, file = on_files, tmp_path / "BBB.parquet"
    good = file.read_bytes()
    hers, his = exchange.account("hers", "secret"), exchange.account("his", "secret")
    order = send(exchange, hers, type="limit", limit_price="100")
    send(exchange, his, symbol="BBB", type="limit", limit_price="1")
    until(exchange, start)
    was = exchange.state.now
    file.write_bytes(b"x") if damage == "damaged" else file.unlink()
    for _ in range(2):
        with pytest.raises(DataError, match=r"BBB\.parquet: (damaged|No such file)"):
            until(exchange, "2024-07-01T18:00:00")
    assert exchange.state.now <= max(was, parse_time("2024-07-01T13:30:00+00:00"))
    assert order.is_open
    file.write_bytes(good)
    exchange.catch_up()
    assert (order.status, order.filled_at) == ("filled", parse_time("2024-07-01T14:35:00+00:00"))


def test_an_order_on_its_way_waits_for_its_table(on_files: Exchange, tmp_path: Path) -> None:
    exchange, file = on_files, tmp_path / "BBB.parquet"
    account, good = exchange.account("hers", "secret"), file.read_bytes()
    until(exchange, "2024-07-01T14:00:00")
    orders = [send(exchange, account), send(exchange, account, symbol="BBB")]
    file.write_bytes(b"x")
    with pytest.raises(DataError, match="damaged"):
        exchange.catch_up()
    assert [order.status for order in orders] == ["pending_new"] * 2
    file.write_bytes(good)
    exchange.catch_up()
    assert [order.status for order in orders] == ["filled"] * 2


def test_a_table_that_is_not_needed_may_be_damaged(on_files: Exchange, tmp_path: Path) -> None:
    account = on_files.account("hers", "secret")
    assert on_files.state.price("BBB") == 100
    order = send(on_files, account)
    (tmp_path / "BBB.parquet").write_bytes(b"x")
    until(on_files, "2024-07-01T14:00:00")
    assert order.status == "filled"
    with pytest.raises(DataError, match="damaged"):
        on_files.state.price("BBB")


def test_a_position_without_a_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NOPE: there is no price table"):
        ParquetTables([tmp_path]).version("NOPE")
    with pytest.raises(DataError, match="NOPE: there is no price table"):
        ParquetTables([tmp_path]).table("NOPE")


def test_what_a_reverse_split_leaves_nothing_of_is_gone() -> None:
    """And the day's other actions still happen."""
    tables: dict[str, pd.DataFrame] = {"AAA": table(), "BBB": table()}
    exchange, account = exchange_with(**tables)
    until(exchange, "2024-07-01T14:00:00")
    send(exchange, account, qty="1.000000004")
    exchange.catch_up()
    send(exchange, account, side="sell", qty="1")
    other = send(exchange, account, symbol="BBB", type="limit", limit_price="1", qty=4, time_in_force="gtc")
    exchange.catch_up()
    assert account.positions["AAA"].qty == Decimal("4e-9")
    rest = send(exchange, account, qty="4e-9", side="sell", type="limit", limit_price="900")
    rest.expires_at = other.expires_at
    for body in (
        {"type": "split", "symbol": "AAA", "ratio": "0.1"},
        {"type": "dividend", "symbol": "AAA", "amount": "1"},
        {"type": "split", "symbol": "BBB", "ratio": "2"},
    ):
        exchange.state.actions.append(read_action({**body, "date": "2024-07-02"}))
    until(exchange, "2024-07-02T14:00:00")
    assert not account.positions
    assert (rest.status, other.qty, exchange.state.actions) == ("canceled", 8, [])
    assert account.activities[-1].body["activity_type"] == "SPLIT"


def test_names_companies_and_blocks_are_known_after_a_restart(tmp_path: Path) -> None:
    first = on_disk(tmp_path / "x.db")
    account = first.account("key", "secret")
    send(first, account)
    for body in (
        {"type": "spin_off", "symbol": "AAA", "new_symbol": "PART", "ratio": "0.2", "price": "5", "date": "2024-07-02"},
        {"type": "rename", "symbol": "AAA", "new_symbol": "NEW", "date": "2024-07-02"},
        {"type": "split", "symbol": "AAA", "ratio": "1.5", "cash_in_lieu": False, "date": "2024-07-08"},
    ):
        announce(first.state, read_action(body))
    until(first, "2024-07-02T14:00:00")
    first.state.assets["PART"] = AssetFlags(tradable=False)
    account.trading_blocked = True
    first.state.changed(account)
    first.commit()
    first.close()
    second = on_disk(tmp_path / "x.db")
    again, market = second.state.accounts["key"], second.state.market
    assert (market.listings, market.cuts) == (first.state.market.listings, first.state.market.cuts)
    assert market.symbols == {"AAA", "NEW", "PART"}
    assert second.state.actions == first.state.actions
    assert [(action.symbol, action.cash_in_lieu) for action in second.state.actions] == [("NEW", False)]
    assert {symbol: position.qty for symbol, position in again.positions.items()} == {"NEW": 10, "PART": 2}
    assert second.state.worth(again) == first.state.worth(account)
    assert (again.trading_blocked, second.state.assets) == (True, {"PART": AssetFlags(tradable=False)})
    second.close()
