"""What an exchange is at a moment: its time, its market, its accounts; and how entries come into their books."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from mlops_cli.exchange.book import accounting
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.faults import Faults
from mlops_cli.exchange.book.matching import quote, to_price
from mlops_cli.exchange.book.records import ZERO, Account, Activity, CorporateAction, Order, Rules
from mlops_cli.exchange.market.market import Market
from mlops_cli.market.hours import Hours, local


class State:
    """See `engine.Exchange`, which lets time pass over it.

    Attributes:
        settled: up to when everything has happened.
        taken: shares of this session's volume that are gone, by account and symbol.
        actions: corporate actions still to come.
        unwritten: by id, what has changed since the last commit.
    """

    def __init__(self, market: Market, clock: Clock, rules: Rules) -> None:
        self.market = market
        self.hours: Hours = market.hours
        self.clock = clock
        self.rules = rules
        self.faults = Faults()
        self.accounts: dict[str, Account] = {}
        self.actions: list[CorporateAction] = []
        self.settled = clock.now()
        self.taken: dict[tuple[str, str], Decimal] = {}
        self.unwritten: dict[str, Account | Order | Activity] = {}
        self._prices: dict[str, Decimal] = {}

    def move_to(self, now: datetime) -> None:
        """It is later; prices are other ones."""
        self.settled = now
        self.forget_prices()

    def forget_prices(self) -> None:
        """Look them up anew."""
        self._prices.clear()

    def price(self, symbol: str) -> Decimal:
        """The last price; zero where there never was one."""
        known = self._prices.get(symbol)
        if known is None:
            last = self.market.price(symbol, self.settled)
            known = self._prices[symbol] = ZERO if last is None else to_price(last[0])
        return known

    def quote(self, symbol: str) -> tuple[float, float, datetime] | None:
        """Bid, ask, and when they were made."""
        stale = self.faults.standing("stale_quotes", symbol)
        at = self.settled if stale is None else min(stale.since, self.settled)
        last = self.market.price(symbol, at)
        return None if last is None else (*quote(last[0], self.rules, self.widening(symbol)), last[1])

    def worth(self, account: Account) -> accounting.Worth:
        """What an account is worth now."""
        return accounting.worth(account, self.price)

    def last_equity(self, account: Account) -> tuple[date | None, Decimal]:
        """Equity at the close of the last session before today, and its day."""
        today = local(self.settled).date()
        day = max((day for day in account.equity if day < today), default=None)
        return day, account.base_value if day is None else account.equity[day]

    def widening(self, symbol: str) -> float:
        """Factor on the spread."""
        wide = self.faults.standing("wide_spread", symbol)
        return 1.0 if wide is None else wide.factor

    def open_orders(self) -> list[tuple[Account, Order]]:
        """Everybody's."""
        return [(account, order) for account in self.accounts.values() for order in account.open_orders.values()]

    def record(self, account: Account, activity: Activity) -> None:
        """Add an entry to an account's history."""
        account.activities.append(activity)
        self.changed(account)
        self.changed(activity)

    def changed(self, thing: Account | Order | Activity) -> None:
        """To be written with the next commit."""
        self.unwritten[thing.id] = thing

    def end(self, account: Account, order: Order, status: str, at: datetime) -> None:
        """An order is over."""
        order.status, order.updated_at = status, at
        stamp = {"canceled": "canceled_at", "expired": "expired_at", "rejected": "failed_at", "replaced": "replaced_at"}
        if status in stamp:
            setattr(order, stamp[status], at)
        account.shut(order)
        self.changed(order)
