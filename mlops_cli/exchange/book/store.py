"""The exchange's state in SQLite: one row for each account, order and activity, its body as JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.exchange.book.records import Account, Activity, CorporateAction, Order, Position, Rules
from mlops_cli.exchange.book.state import State

VERSION = 1
CLOCKS_DIFFER = timedelta(hours=1)  # a clock that was put right is no mistake: time then waits
_TABLES = """
CREATE TABLE IF NOT EXISTS accounts (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, account TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS activities (id TEXT PRIMARY KEY, account TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS world (name TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
_KEPT_APART = ("orders", "by_client_id", "open_orders", "book", "reserved", "activities")
_READERS: dict[str, Callable[[Any], Any]] = {
    "Decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
}


class Store:
    """A database file, of one exchange at a time.

    WAL and synchronous=NORMAL: a killed exchange loses nothing, a power cut perhaps the last.

    Raises:
        ServiceError: another exchange has it.
        ConfigError: it is no such database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # not of a thread: closed by another one than opened it
        self._lock = FileLock(path.with_name(f"{path.name}.lock"), thread_local=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            hint = "end that one first, or give this one another --database (:memory: for none)"
            raise ServiceError(f"{path}: another exchange is running on this database", hint) from None
        except OSError as error:
            raise ConfigError(f"{path}: no place for a database: {error}", "give another --database") from error
        try:
            self._open()
        except ConfigError:
            self._lock.release()
            raise
        self._world = b""
        self._settled: datetime | None = None

    def _open(self) -> None:
        path = self._path
        try:
            # made in one thread and used in another, but never in two at once
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            found = self._database.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise ConfigError(f"{path}: made by another version of the exchange", "give another --database")
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_TABLES)
            self._database.execute(f"PRAGMA user_version={VERSION}")
        except sqlite3.Error as error:
            raise ConfigError(f"{path}: no database of the exchange: {error}", "give another --database") from error

    def commit(self, state: State) -> None:
        """Write down what has changed, all of it or nothing.

        Raises:
            ServiceError: nothing was written: another program is writing to the file, or the disk is full.
        """
        market = state.market
        world = {"splits": market.splits, "delisted": market.delisted, "actions": state.actions}
        body = dump({**world, "rules": state.rules, "standing": state.clock.standing})
        if not state.unwritten and body == self._world:
            return
        try:
            with self._database:  # rolls back if anything fails
                self._database.execute("BEGIN IMMEDIATE")
                self._write(state, body)
        except sqlite3.Error as error:
            raise ServiceError(f"{self._path}: nothing can be written: {error}", "ask again") from error
        self._world, self._settled = body, state.settled

    def _write(self, state: State, world: bytes) -> None:
        run = self._database.execute
        for thing in state.unwritten.values():
            match thing:
                case Account():
                    values = {f.name: getattr(thing, f.name) for f in fields(thing) if f.name not in _KEPT_APART}
                    run("REPLACE INTO accounts VALUES (?, ?)", (thing.id, dump(values)))
                case Order():
                    run("REPLACE INTO orders VALUES (?, ?, ?)", (thing.id, thing.account, dump(thing)))
                case Activity():
                    run("REPLACE INTO activities VALUES (?, ?, ?)", (thing.id, thing.account, dump(thing)))
        if world != self._world:
            run("REPLACE INTO world VALUES ('market', ?)", (world,))
        if state.settled != self._settled:
            run("REPLACE INTO world VALUES ('settled', ?)", (dump(state.settled),))

    def load(self, state: State) -> None:
        """Take up where the last exchange on this file ended.

        Raises:
            ConfigError: that is in the future.
        """
        rows = self._database.execute
        accounts = {row[0]: read_account(orjson.loads(row[1])) for row in rows("SELECT id, body FROM accounts")}
        state.accounts.update({account.key: account for account in accounts.values()})
        orders = [read(Order, orjson.loads(body)) for (body,) in rows("SELECT body FROM orders")]
        for order in sorted(orders, key=lambda order: order.sequence):
            accounts[order.account].add(order)
        for (body,) in rows("SELECT body FROM activities ORDER BY rowid"):
            activity = read(Activity, orjson.loads(body))
            accounts[activity.account].activities.append(activity)
        world = {name: orjson.loads(body) for name, body in rows("SELECT name, body FROM world")}
        if world:
            _take_up(state, world)

    def close(self) -> None:
        """Release the file."""
        self._database.close()
        self._lock.release()


def _take_up(state: State, world: Mapping[str, Any]) -> None:
    market = world["market"]
    state.settled = datetime.fromisoformat(world["settled"])
    state.rules = Rules(**market["rules"])
    state.actions = [read(CorporateAction, action) for action in market["actions"]]
    for symbol, splits in market["splits"].items():
        for day, ratio in splits:
            state.market.split(symbol, date.fromisoformat(day), ratio)
    state.market.delisted.update({s: date.fromisoformat(day) for s, day in market["delisted"].items()})
    standing = market["standing"]
    if standing is not None and state.clock.standing is not None:
        state.clock.standing = max(state.clock.standing, datetime.fromisoformat(standing))
    now = state.clock.now()
    if now < state.settled - CLOCKS_DIFFER:
        raise ConfigError(
            f"the exchange's database has lived until {state.settled.isoformat()}, which is after {now.isoformat()}",
            "give another --database, or a later --replay",
        )
    state.taken.update(_taken(state))


def _taken(state: State) -> dict[tuple[str, str], Decimal]:
    """What accounts have taken of the volume of the session that is on: the sum of their fills in it."""
    session = state.hours.current(state.settled)
    taken: dict[tuple[str, str], Decimal] = {}
    for account in state.accounts.values() if session is not None else ():
        for one in account.activities:
            if one.body["activity_type"] == "FILL" and session is not None and one.at >= session.opens:
                place = (account.id, one.body["symbol"])
                taken[place] = taken.get(place, Decimal(0)) + Decimal(one.body["qty"])
    return taken


def dump(value: Any) -> bytes:
    """As JSON; decimals as text."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be stored")


def read[T](kind: type[T], body: Mapping[str, Any]) -> T:
    """A dataclass from its JSON; the inverse of `dump`."""
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        given = body[field.name]
        reader = _READERS.get(str(field.type).removesuffix(" | None"))
        values[field.name] = given if given is None or reader is None else reader(given)
    return kind(**values)


def read_account(body: Mapping[str, Any]) -> Account:
    """An account from its JSON, without its orders and activities."""
    positions = {symbol: read(Position, value) for symbol, value in body["positions"].items()}
    equity = {date.fromisoformat(day): Decimal(value) for day, value in body["equity"].items()}
    simple = {**body, "positions": positions, "equity": equity}
    for name in ("cash", "base_value"):
        simple[name] = Decimal(body[name])
    return Account(**{**simple, "created_at": datetime.fromisoformat(body["created_at"])})
