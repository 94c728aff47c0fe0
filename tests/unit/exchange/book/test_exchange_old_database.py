"""A database written by an earlier version of the exchange: it opens, is the same state, and trading goes on.

`exchange_database_v1.sql` is such a database as SQL text: two accounts with orders in every state, fills, a split, a
dividend, a delisting, announced actions, and a clock that stands in the middle of a session.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import CorporateAction, MarketRules
from tests.fakes.exchange_server import new_exchange
from tests.fakes.small_exchange import FRIDAY_EVENING, table, until

DUMP = Path(__file__).with_name("exchange_database_v1.sql")
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "exchange.db"
    connection = sqlite3.connect(file)
    connection.executescript(DUMP.read_text())
    connection.close()
    return file


def opened(database: Path) -> Exchange:
    return new_exchange({symbol: table() for symbol in SYMBOLS}, FRIDAY_EVENING, database)


@pytest.fixture
def exchange(database: Path) -> Iterator[Exchange]:
    exchange = opened(database)
    yield exchange
    exchange.close()


def rows(database: Path) -> dict[str, Any]:
    connection = sqlite3.connect(database)
    queries = {
        "accounts": "SELECT id, '', body FROM accounts",
        "orders": "SELECT id, account, body FROM orders",
        "activities": "SELECT id, account, body FROM activities",
        "world": "SELECT name, '', body FROM world",
    }
    found = {
        table: {(row[0], row[1]): moments_as_numbers(json.loads(row[2])) for row in connection.execute(query)}
        for table, query in queries.items()
    }
    connection.close()
    return found


def moments_as_numbers(body: Any) -> Any:
    """Times as seconds: +00:00 and Z are the same time."""
    if isinstance(body, dict):
        return {name: moments_as_numbers(value) for name, value in body.items()}
    if isinstance(body, str) and len(body) > 19 and body[4] == "-" and "T" in body:
        return datetime.fromisoformat(body).timestamp()
    return body


def test_accounts_of_an_old_database(exchange: Exchange) -> None:
    red, blue = exchange.account("red", "secret"), exchange.account("blue", "other")
    assert (red.number, blue.number) == ("PA00000001", "PA00000002")
    assert red.created_at == datetime(2024, 6, 28, 23, 30, tzinfo=UTC)
    assert (red.cash, blue.cash) == (Decimal("90509.3460000875442"), Decimal("99813.2522001184365"))
    assert red.equity == {date(2024, 7, 1): Decimal("100185.1354249575442")}
    assert blue.configurations["max_margin_multiplier"] == "4"
    assert {symbol: (held.qty, held.average_price) for symbol, held in red.positions.items()} == {
        "AAA": (Decimal("24.910046188"), Decimal("51.01785")),
        "BBB": (Decimal(80), Decimal("102.7859625")),
    }
    assert {symbol: held.qty for symbol, held in blue.positions.items()} == {
        "AAA": -8,
        "DDD": Decimal("1.123456789"),
    }
    assert (red.reserved, blue.reserved) == (Decimal("1372.703613"), 0)


def test_orders_of_an_old_database(exchange: Exchange) -> None:
    red, blue = exchange.state.accounts["red"], exchange.state.accounts["blue"]
    assert {name: (order.status, order.sequence) for name, order in red.by_client_id.items()} == {
        "market": ("filled", 1),
        "part": ("filled", 2),
        "large": ("filled", 3),
        "low": ("expired", 4),
        "stop": ("new", 5),
        "replaced": ("replaced", 9),
        "replacement": ("new", 10),
        "delayed": ("new", 12),
        "waiting": ("pending_new", 14),
    }
    assert {name: order.status for name, order in blue.by_client_id.items()} == {
        "short": "filled",
        "gone": "filled",
        "rejected": "rejected",
        "canceled": "canceled",
        "parts": "filled",
    }
    stop, delayed = red.by_client_id["stop"], red.by_client_id["delayed"]
    assert (stop.triggered, stop.stop_price, stop.limit_price, stop.qty) == (True, 54, 52, 6)
    assert delayed.not_before == datetime(2024, 7, 2, 16, tzinfo=UTC)
    assert (red.by_client_id["part"].qty, red.by_client_id["part"].notional) == (None, Decimal("250.5"))
    assert red.by_client_id["low"].extended_hours
    assert blue.by_client_id["rejected"].failed_at is not None
    replaced, replacement = red.by_client_id["replaced"], red.by_client_id["replacement"]
    assert (replaced.replaced_by, replacement.replaces) == (replacement.id, replaced.id)
    assert set(red.open_orders) == {red.by_client_id[name].id for name in ("stop", "replacement", "delayed", "waiting")}
    assert not blue.open_orders


def test_the_market_of_an_old_database(exchange: Exchange) -> None:
    assert exchange.state.now == exchange.state.clock.standing == datetime(2024, 7, 2, 15, tzinfo=UTC)
    assert exchange.state.rules == MarketRules(4.0, 1.5, 0.05)
    assert exchange.state.actions == [
        CorporateAction("split", "DDD", date(2024, 7, 5), Decimal(3)),
        CorporateAction("delisting", "BBB", date(2024, 7, 8), None, closes_positions=False),
    ]
    assert exchange.state.market.splits == {"AAA": [(date(2024, 7, 2), 2.0)]}
    assert exchange.state.market.delisted == {"CCC": date(2024, 7, 2)}
    red, blue = exchange.state.accounts["red"], exchange.state.accounts["blue"]
    assert exchange.state.taken == {(red.id, "BBB"): 30, (blue.id, "DDD"): Decimal("1.123456789")}
    kinds = [activity.body["activity_type"] for activity in blue.activities]
    assert kinds == ["FILL", "FILL", "SPLIT", "DIV", "REORG", "FILL"]


def test_times_are_of_one_zone(exchange: Exchange) -> None:
    """Comparing times of two zones takes ten times as long."""
    account = exchange.state.accounts["red"]
    times = [exchange.state.now, account.created_at, *(activity.at for activity in account.activities)]
    times += [order.expires_at for order in account.orders.values()]
    assert all(time.tzinfo is UTC for time in times)


def test_trading_goes_on_as_the_old_version_would_have_gone_on(exchange: Exchange) -> None:
    exchange.catch_up()
    until(exchange, "2024-07-08T21:00:00")
    red, blue = exchange.state.accounts["red"], exchange.state.accounts["blue"]
    assert (red.cash, blue.cash) == (Decimal("89884.7751000875442"), Decimal("99813.2522001184365"))
    assert red.equity[date(2024, 7, 8)] == Decimal("99139.5469709235442")
    assert blue.equity[date(2024, 7, 8)] == Decimal("99542.8570259387576")
    assert {symbol: held.qty for symbol, held in red.positions.items()} == {
        "AAA": Decimal("30.910046188"),
        "BBB": 80,
        "DDD": 9,
    }
    assert {name: order.status for name, order in red.by_client_id.items() if order.sequence > 4} == {
        "stop": "filled",
        "replaced": "replaced",
        "replacement": "new",
        "delayed": "filled",
        "waiting": "filled",
    }
    assert red.by_client_id["delayed"].filled_cost == Decimal("207.1494")
    assert (red.reserved, blue.reserved) == (735, 0)


def test_what_is_written_again_says_the_same(database: Path) -> None:
    before = rows(database)
    exchange = opened(database)
    for account in exchange.state.accounts.values():
        exchange.state.changed(account)
        for thing in (*account.orders.values(), *account.activities):
            exchange.state.changed(thing)
    exchange.commit()
    exchange.close()
    after = rows(database)
    for body in after["accounts"].values():
        assert [body.pop(name) for name in ("account_blocked", "trading_blocked", "transfers_blocked")] == [False] * 3
    market = after["world"]["market", ""]
    assert [market.pop(name) for name in ("listings", "cuts", "assets")] == [{}] * 3
    for action in market["actions"]:
        assert [action.pop(name) for name in ("new_symbol", "price", "cash_in_lieu")] == [None, None, True]
    assert after == before
    again = opened(database)
    assert again.state.accounts == exchange.state.accounts
    again.close()


def test_damaged_pages_end_with_the_documented_error(database: Path) -> None:
    """Every page in turn is inverted; SQLite's header is in the first."""
    good = database.read_bytes()
    for place in range(0, len(good), 4096):
        page = bytes(byte ^ 0xFF for byte in good[place : place + 4096])
        database.write_bytes(good[:place] + page + good[place + 4096 :])
        with pytest.raises(ConfigError, match=r"exchange\.db: (damaged|no database)"):
            opened(database)


@given(st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 255)), min_size=1, max_size=40))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_end_with_the_documented_error(database: Path, damage: list[tuple[int, int]]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(DUMP.read_text())
    data = bytearray(connection.serialize())
    connection.close()
    for place, byte in damage:
        data[place % len(data)] = byte
    for file in database.parent.glob("exchange.db*"):
        file.unlink()
    database.write_bytes(data)
    with contextlib.suppress(ConfigError, ServiceError):
        exchange = opened(database)
        try:
            until(exchange, "2024-07-08T21:00:00")
            exchange.commit()
        finally:
            exchange.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE orders SET body = json_remove(body, '$.sequence')", "sequence"),
        ("UPDATE orders SET body = json_set(body, '$.qty', 'many')", "qty"),
        ("UPDATE accounts SET body = json_set(body, '$.created_at', '2024-06-28T23:30:00')", "created_at"),
        ("UPDATE activities SET body = '{'", "JSON"),
        ("UPDATE activities SET account = 'x', body = json_set(body, '$.account', 'x')", "'x'"),
        ("DELETE FROM world WHERE name = 'settled'", "settled"),
        ("UPDATE activities SET body = json_set(body, '$.body.qty', 'many')", ""),
        ("UPDATE activities SET body = json_remove(body, '$.body.activity_type')", "activity_type"),
        ("UPDATE accounts SET body = CAST(x'ff' AS TEXT)", ""),
        ("UPDATE orders SET body = 7", ""),
    ],
)
def test_a_damaged_row_is_named_and_the_file_is_released(database: Path, statement: str, words: str) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.execute(statement)
    connection.close()
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"exchange\.db: damaged: .*{words}.*\n.*--database"):
            opened(database)
