"""The exchange's state in SQLite: one row for each account, order and activity, its body as JSON."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.exchange.book.records import Account, Activity, AssetFlags, CorporateAction, MarketRules, Order, UtcTime
from mlops_cli.exchange.book.state import State
from mlops_cli.exchange.market.market import Listing, PriceCut, Split
from mlops_cli.system.locks import file_lock

VERSION = 1
CLOCKS_DIFFER = timedelta(hours=1)
"""A clock may have been corrected by so much since the last exchange. Time then stands still for a while."""
_TABLES = """
CREATE TABLE IF NOT EXISTS accounts (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, account TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS activities (id TEXT PRIMARY KEY, account TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS world (name TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
_IN_OTHER_ROWS = {"orders", "by_client_id", "open_orders", "open_by_side", "reserved", "activities"}


@dataclass(slots=True)
class MarketRow:
    """The body of the row "market": what the exchange remembers beyond its accounts.

    `delisted` has the first day without trade by symbol, `standing` the time of a replay, None for the real time.
    Databases of earlier versions lack the last three.
    """

    splits: dict[str, list[Split]]
    delisted: dict[str, date]
    actions: list[CorporateAction]
    rules: MarketRules
    standing: UtcTime | None
    listings: dict[str, Listing] = field(default_factory=dict)
    cuts: dict[str, list[PriceCut]] = field(default_factory=dict)
    assets: dict[str, AssetFlags] = field(default_factory=dict)


ACCOUNT, ORDER, ACTIVITY = TypeAdapter(Account), TypeAdapter(Order), TypeAdapter(Activity)
MARKET, TIME = TypeAdapter(MarketRow), TypeAdapter[datetime](UtcTime)


class Store:
    """A database file, created if it does not exist. Only one exchange at a time can open it.

    With WAL and synchronous=NORMAL, a killed exchange loses nothing; a power cut may lose the last commits. A
    `ServiceError` says that another exchange has opened the file, a `ConfigError` that it cannot be created, or is no
    database of this version of the exchange.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        hint = "stop that exchange, or give another --database (:memory: for none)"
        busy = ServiceError(f"{path}: another exchange is running on this database", hint)
        with ExitStack() as opened:
            try:
                opened.enter_context(file_lock(path.with_name(f"{path.name}.lock"), busy))
            except OSError as error:
                hint = "give another --database"
                raise ConfigError(f"{path}: the database cannot be created: {error}", hint) from error
            self._open()
            self._lock = opened.pop_all()
        self._market = b""
        self._time: datetime | None = None

    def _open(self) -> None:
        path = self._path
        try:
            # opened in one thread and used in another, but never by two at once
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise ConfigError(f"{path}: written by another version of the exchange", "give another --database")
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_TABLES)
            self._database.execute(f"PRAGMA user_version={VERSION}")
            fault = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
        except (sqlite3.Error, UnicodeError) as error:
            raise ConfigError(f"{path}: no database of an exchange: {error}", "give another --database") from error
        if fault != "ok":
            raise ConfigError(f"{path}: damaged: {' '.join(fault.split())[:200]}", "give another --database")

    def commit(self, state: State) -> None:
        """Write down all that has changed, or nothing and raise a `ServiceError`: the file is locked, the disk full."""
        market = state.market
        row = MarketRow(
            market.splits, market.delisted, state.actions, state.rules, state.clock.standing,
            market.listings, market.cuts, state.assets,
        )  # fmt: skip
        body = MARKET.dump_json(row)
        if not state.unwritten and body == self._market:
            return
        try:
            with self._database:  # rolls back if anything fails
                self._database.execute("BEGIN IMMEDIATE")
                self._write(state, body)
        except sqlite3.Error as error:
            raise ServiceError(f"{self._path}: nothing can be written: {error}", "ask again") from error
        self._market, self._time = body, state.now

    def _write(self, state: State, market: bytes) -> None:
        run = self._database.execute
        for record in state.unwritten.values():
            match record:
                case Account():
                    body = ACCOUNT.dump_json(record, exclude=_IN_OTHER_ROWS)
                    run("REPLACE INTO accounts (id, body) VALUES (?, ?)", (record.id, body))
                case Order():
                    body = ORDER.dump_json(record)
                    run("REPLACE INTO orders (id, account, body) VALUES (?, ?, ?)", (record.id, record.account, body))
                case Activity():
                    body = ACTIVITY.dump_json(record)
                    values = (record.id, record.account, body)
                    run("REPLACE INTO activities (id, account, body) VALUES (?, ?, ?)", values)
        if market != self._market:
            run("REPLACE INTO world (name, body) VALUES ('market', ?)", (market,))
        if state.now != self._time:
            run("REPLACE INTO world (name, body) VALUES ('settled', ?)", (TIME.dump_json(state.now),))

    def load(self, state: State) -> None:
        """Continue where the last exchange ended; a `ConfigError` if a row is damaged, or later than the clock."""
        try:
            self._load_accounts(state)
            bodies = dict(self._database.execute("SELECT name, body FROM world"))
            if bodies:
                _restore(state, MARKET.validate_json(bodies["market"]), TIME.validate_json(bodies["settled"]))
        # ValueError: also of pydantic; ArithmeticError: text in the place of a number
        except (ValueError, LookupError, TypeError, ArithmeticError, sqlite3.Error) as error:
            raise ConfigError(f"{self._path}: damaged: {_reason(error)}", "give another --database") from error

    def _load_accounts(self, state: State) -> None:
        rows = self._database.execute
        accounts = {row[0]: ACCOUNT.validate_json(row[1]) for row in rows("SELECT id, body FROM accounts")}
        state.accounts.update({account.key: account for account in accounts.values()})
        orders = [ORDER.validate_json(body) for (body,) in rows("SELECT body FROM orders")]
        for order in sorted(orders, key=lambda order: order.sequence):
            accounts[order.account].add(order)
        for (body,) in rows("SELECT body FROM activities ORDER BY rowid"):
            activity = ACTIVITY.validate_json(body)
            accounts[activity.account].activities.append(activity)

    def close(self) -> None:
        """Release the file."""
        self._database.close()
        self._lock.close()


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{error.title} {'.'.join(map(str, first['loc']))}: {first['msg']}"


def _restore(state: State, row: MarketRow, time: datetime) -> None:
    state.now = time
    state.rules, state.actions, state.assets = row.rules, row.actions, row.assets
    state.market.splits.update(row.splits)
    state.market.delisted.update(row.delisted)
    state.market.listings.update(row.listings)
    state.market.cuts.update(row.cuts)
    if row.standing is not None and state.clock.standing is not None:
        state.clock.standing = max(state.clock.standing, row.standing)
    now = state.clock.now()
    if now < time - CLOCKS_DIFFER:
        raise ConfigError(
            f"the exchange's database ends at {time.isoformat()}, which is later than {now.isoformat()}",
            "give another --database, or a later --replay",
        )
    state.taken.update(_taken(state))


def _taken(state: State) -> dict[tuple[str, str], Decimal]:
    """Shares that accounts have taken of the present session's volume: the sum of their fills in it."""
    session = state.hours.current(state.now)
    taken: dict[tuple[str, str], Decimal] = {}
    if session is None:
        return taken
    for account in state.accounts.values():
        for activity in account.activities:
            if activity.body["activity_type"] == "FILL" and activity.at >= session.opens:
                place = (account.id, activity.body["symbol"])
                taken[place] = taken.get(place, Decimal(0)) + Decimal(activity.body["qty"])
    return taken
