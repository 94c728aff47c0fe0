"""The state of an exchange at one moment: its time, market, accounts and orders."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from mlops_cli.exchange.book import accounting
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.faults import Faults
from mlops_cli.exchange.book.matching import bid_and_ask, to_price
from mlops_cli.exchange.book.records import ZERO, Account, Activity, AssetFlags, CorporateAction, MarketRules, Order
from mlops_cli.exchange.market.market import Market
from mlops_cli.market.hours import Hours, in_new_york

_TIME_OF_END = {"canceled": "canceled_at", "expired": "expired_at", "rejected": "failed_at", "replaced": "replaced_at"}


_ALLOWED = AssetFlags()


class AccountOrder(NamedTuple):
    """An order and the account that sent it."""

    account: Account
    order: Order


class Quote(NamedTuple):
    """Bid and ask in USD, and the time at which they were made."""

    bid: float
    ask: float
    at: datetime


class DayEquity(NamedTuple):
    """The equity in USD at the close of a day; the day is None before an account's first close."""

    day: date | None
    equity: Decimal


class State:
    """The state that requests read and change, and that `trading_floor.advance` moves through time.

    Attributes:
        now: everything up to this time has happened. The clock may already be later.
        accounts: by key.
        actions: corporate actions that are still to come.
        assets: by symbol, what the broker allows in it; others are allowed everything.
        new_orders: sent since time last passed; they are matched before it passes again.
        to_reject: ids of new orders that a fault rejects as time passes.
        taken: shares of this session's volume that were traded, by account id and symbol.
        unwritten: records that have changed since the last commit, by id.
    """

    def __init__(self, market: Market, clock: Clock, rules: MarketRules) -> None:
        self.market = market
        self.hours: Hours = market.hours
        self.clock = clock
        self.rules = rules
        self.faults = Faults()
        self.now = clock.now()
        self.accounts: dict[str, Account] = {}
        self.actions: list[CorporateAction] = []
        self.assets: dict[str, AssetFlags] = {}
        self.new_orders: list[AccountOrder] = []
        self.to_reject: set[str] = set()
        self.taken: dict[tuple[str, str], Decimal] = {}
        self.unwritten: dict[str, Account | Order | Activity] = {}
        self._prices: dict[str, Decimal] = {}

    # time and prices

    def move_to(self, now: datetime) -> None:
        """Set the time; nothing else happens."""
        self.now = now
        self.forget_prices()

    def forget_prices(self) -> None:
        """Compute prices again when they are next needed."""
        self._prices.clear()

    def price(self, symbol: str) -> Decimal:
        """The last price in USD; zero before the first one."""
        price = self._prices.get(symbol)
        if price is None:
            last = self.market.price(symbol, self.now)
            price = self._prices[symbol] = ZERO if last is None else to_price(last.price)
        return price

    def quote(self, symbol: str) -> Quote | None:
        """The present quote; None before the first price."""
        stale = self.faults.standing("stale_quotes", symbol)
        at = self.now if stale is None else min(stale.since, self.now)
        last = self.market.price(symbol, at)
        if last is None:
            return None
        return Quote(*bid_and_ask(last.price, self.rules, self.spread_factor(symbol)), last.at)

    def asset(self, symbol: str) -> AssetFlags:
        """What the broker allows in a symbol."""
        return self.assets.get(symbol, _ALLOWED)

    def spread_factor(self, symbol: str) -> float:
        """The factor by which a fault widens the spread; 1 without a fault."""
        wide = self.faults.standing("wide_spread", symbol)
        return 1.0 if wide is None else wide.factor

    # accounts and orders

    def worth(self, account: Account) -> accounting.Worth:
        """The value of an account at the present prices."""
        return accounting.worth(account, self.price)

    def last_equity(self, account: Account) -> DayEquity:
        """Equity at the last close before today."""
        today = in_new_york(self.now).date()
        day = max((day for day in account.equity if day < today), default=None)
        return DayEquity(day, account.base_value if day is None else account.equity[day])

    def open_orders(self) -> list[AccountOrder]:
        """The open orders of all accounts."""
        return [
            AccountOrder(account, order) for account in self.accounts.values() for order in account.open_orders.values()
        ]

    def end_order(self, account: Account, order: Order, status: str, at: datetime) -> None:
        """Give an order its last status and take it out of the open orders."""
        order.status, order.updated_at = status, at
        if status in _TIME_OF_END:
            setattr(order, _TIME_OF_END[status], at)
        account.remove_open(order)
        self.changed(order)

    def add_activity(self, account: Account, activity: Activity) -> None:
        """Add a fill or booking to an account's history."""
        account.activities.append(activity)
        self.changed(account)
        self.changed(activity)

    def changed(self, record: Account | Order | Activity) -> None:
        """Remember that a record must be written with the next commit."""
        self.unwritten[record.id] = record
