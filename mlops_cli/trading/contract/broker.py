"""Port `Broker`: the calls of a pass to a broker, with exact decimals and UTC times, and their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from mlops_cli.errors import BrokerError, ConfigError, ServiceError
from mlops_cli.trading.contract.types import AccountState, Holding, OrderIntent

FINAL = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
"""Statuses after which nothing happens to an order any more; all others, unheard-of ones too, count as open."""


class OrderRefused(BrokerError):  # noqa: N818 - an answer, not a defect
    """The broker has refused an order. It was not accepted and will not be."""


class OutcomeUnknown(BrokerError):  # noqa: N818
    """It is not known whether an order was accepted. Ask for its client_order_id before sending anything else."""


class BrokerUnreachable(ServiceError):  # noqa: N818
    """The broker does not answer, or answers with server errors."""


class KeysRefused(ConfigError):  # noqa: N818
    """The broker does not know the keys, or they lack a permission."""


@dataclass(frozen=True)
class BrokerClock:
    """The broker's clock; times in UTC."""

    now: datetime
    is_open: bool


@dataclass(frozen=True)
class SessionHours:
    """A session's regular hours, in UTC; they account for half days and daylight saving time."""

    session: date
    open: datetime
    close: datetime


@dataclass(frozen=True)
class Quote:
    """Best bid and ask in USD; zero if there is none."""

    ticker: str
    bid: Decimal
    ask: Decimal
    time: datetime

    @property
    def middle(self) -> Decimal | None:
        """The middle between bid and ask; None for a one-sided or crossed quote."""
        return (self.bid + self.ask) / 2 if 0 < self.bid <= self.ask else None


@dataclass(frozen=True)
class Bar:
    """A session's prices in USD, of the regular hours, and the shares traded."""

    ticker: str
    session: date
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True)
class BrokerOrder:
    """An order as the broker sees it."""

    id: str
    client_order_id: str
    ticker: str
    side: str
    type: str
    time_in_force: str
    status: str
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    filled_qty: Decimal
    filled_average_price: Decimal | None
    submitted_at: datetime

    @property
    def final(self) -> bool:
        """Whether the order can no longer change."""
        return self.status in FINAL


@dataclass(frozen=True)
class Fill:
    """An execution; `id` is the broker's and never used twice."""

    id: str
    order_id: str
    ticker: str
    side: str
    qty: Decimal
    price: Decimal
    time: datetime


@dataclass(frozen=True)
class AccountActivity:
    """Shares or cash that changed without an order: a split, a dividend, a fee.

    Attributes:
        kind: the broker's name for it, for example SPLIT or DIV at Alpaca.
        qty: shares it is about, as the broker counts them: those that came, or those held afterwards; 0 where only cash
            moved.
        cash: dollars that came (or went).
    """

    id: str
    kind: str
    ticker: str
    qty: Decimal
    cash: Decimal
    day: date
    time: datetime


@dataclass(frozen=True)
class Activities:
    """Everything that changed shares or cash: executions of orders, and other activities."""

    fills: tuple[Fill, ...]
    others: tuple[AccountActivity, ...]


class Broker(Protocol):
    """One account at a broker.

    Every call may raise BrokerUnreachable or KeysRefused. Only `submit` and `cancel` change anything.
    """

    @property
    def address(self) -> str:
        """The broker's address for messages; contains no secrets."""

    def account_id(self) -> str:
        """The account's name at the broker: a ledger belongs to one account."""

    def account(self) -> AccountState:
        """Cash and equity of the account."""

    def positions(self) -> Mapping[str, Holding]:
        """The positions by ticker; a short position has a negative quantity."""

    def clock(self) -> BrokerClock:
        """The broker's time."""

    def calendar(self, start: date, end: date) -> Sequence[SessionHours]:
        """Sessions from `start` to `end`, both included, rising."""

    def quotes(self, tickers: Sequence[str]) -> Mapping[str, Quote]:
        """Latest quotes; a ticker without one is left out."""

    def bars(self, tickers: Sequence[str], session: date) -> Mapping[str, Bar]:
        """Daily bars of a session (up to now), adjusted for splits; a ticker without one is left out."""

    def submit(self, intent: OrderIntent) -> BrokerOrder:
        """Send an order. If the broker has an order of the same client_order_id, that order is returned instead.

        Raises:
            OrderRefused: the broker refuses the order.
            OutcomeUnknown: the broker may have accepted it or not.
        """

    def cancel(self, order_id: str) -> None:
        """Cancel an open order; does nothing if the order is already final."""

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """The order with this client_order_id, open or not; None if the broker has none."""

    def orders_since(self, time: datetime) -> Sequence[BrokerOrder]:
        """All orders submitted after `time`, open or not, oldest first."""

    def activities_since(self, time: datetime) -> Activities:
        """Executions and other changes of shares or cash after `time`, oldest first."""
