"""A broker in memory whose every answer a test sets: for what a pass does when the broker says something odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from mlops_cli.market.hours import us_hours
from mlops_cli.trading.contract.broker import (
    AccountActivity,
    Activities,
    Bar,
    BrokerClock,
    BrokerOrder,
    Fill,
    Quote,
    SessionHours,
)
from mlops_cli.trading.contract.types import AccountState, Holding, OrderIntent
from tests.fakes.ledgers import EVENING, an_account, an_order


@dataclass
class ScriptedBroker:
    """See `broker.Broker`; everything is taken unless `failures` says otherwise.

    Attributes:
        now: its time.
        state: the account's money.
        holdings: by ticker.
        orders: as it shows them.
        fills: executions.
        others: other activities.
        prices: closes by ticker, for bars; quotes are at `quoted`.
        failures: errors that `submit` raises, by ticker.
        taken_all_the_same: tickers whose failing order is taken nevertheless.
        silent: an error that `orders_since` raises from the second call on.
        submitted: intents in the order in which they arrived.
        cancelled: ids of the orders that were cancelled.
        asked_since: times that `activities_since` was asked for.
    """

    now: datetime = EVENING
    is_open: bool = False
    name: str = "account-1"
    address: str = "scripted"
    state: AccountState = field(default_factory=an_account)
    holdings: dict[str, Holding] = field(default_factory=dict)
    orders: list[BrokerOrder] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    others: list[AccountActivity] = field(default_factory=list)
    prices: dict[str, Decimal] = field(default_factory=dict)
    quoted: dict[str, Quote] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    taken_all_the_same: set[str] = field(default_factory=set)
    silent: Exception | None = None
    submitted: list[OrderIntent] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    asked_since: list[datetime] = field(default_factory=list)
    _asked_for_orders: int = 0

    def account_id(self) -> str:
        """The account's name."""
        return self.name

    def account(self) -> AccountState:
        """Money."""
        return self.state

    def positions(self) -> Mapping[str, Holding]:
        """Holdings by ticker."""
        return dict(self.holdings)

    def clock(self) -> BrokerClock:
        """Its time."""
        return BrokerClock(self.now, self.is_open)

    def calendar(self, start: date, end: date) -> Sequence[SessionHours]:
        """Sessions of New York."""
        return [SessionHours(one.day, one.opens, one.closes) for one in us_hours().between(start, end)]

    def quotes(self, tickers: Sequence[str]) -> Mapping[str, Quote]:
        """The quotes that were set."""
        return {ticker: self.quoted[ticker] for ticker in tickers if ticker in self.quoted}

    def bars(self, tickers: Sequence[str], session: date) -> Mapping[str, Bar]:
        """Bars at the closes that were set."""
        return {
            ticker: Bar(ticker, session, *[self.prices[ticker]] * 4, Decimal(1000))
            for ticker in tickers
            if ticker in self.prices
        }

    def submit(self, intent: OrderIntent) -> BrokerOrder:
        """Take an order, or fail as told."""
        self.submitted.append(intent)
        order = an_order(intent, submitted_at=self.now)
        failure = self.failures.get(intent.ticker)
        if failure is None or intent.ticker in self.taken_all_the_same:
            self.orders.append(order)
        if failure is not None:
            raise failure
        return order

    def cancel(self, order_id: str) -> None:
        """Cancel an order."""
        self.cancelled.append(order_id)

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """The order of this name."""
        return next((order for order in self.orders if order.client_order_id == client_order_id), None)

    def orders_since(self, time: datetime) -> Sequence[BrokerOrder]:
        """Orders submitted after a time."""
        self._asked_for_orders += 1
        if self.silent is not None and self._asked_for_orders > 1:
            raise self.silent
        return [order for order in self.orders if order.submitted_at > time]

    def activities_since(self, time: datetime) -> Activities:
        """Fills and other activities after a time."""
        self.asked_since.append(time)
        return Activities(
            tuple(fill for fill in self.fills if fill.time > time),
            tuple(activity for activity in self.others if activity.time > time),
        )
