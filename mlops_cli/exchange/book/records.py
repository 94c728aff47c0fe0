"""What the exchange keeps: accounts, orders, positions, activities, its settings, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime

from mlops_cli.errors import BrokerError

ZERO = Decimal(0)
SHARE = Decimal("0.000000001")  # Alpaca keeps shares to nine places
TICK = Decimal("0.0001")
STARTING_CASH = Decimal(100_000)
OPEN_STATES = frozenset({"accepted", "pending_new", "new", "partially_filled"})


def _in_utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


UtcTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time whose `tzinfo` is `datetime.UTC` when it is read from JSON: two different zones take ten times as long to
compare."""


class RefusedError(BrokerError):
    """An answer that is no success, as Alpaca words it.

    Args:
        status: HTTP status.
        code: Alpaca's own code, the status followed by five digits.
        message: for people.
        extra: further members of the body.
    """

    def __init__(self, status: int, code: int, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"code": code, "message": message, **extra}


def refused(message: str) -> RefusedError:
    """A request that cannot be an order (422, code 40010001)."""
    return RefusedError(422, 40010001, message)


def unprocessable(message: str) -> RefusedError:
    """A request that cannot be fulfilled as things are (422, code 42210000)."""
    return RefusedError(422, 42210000, message)


def forbidden(message: str, **extra: Any) -> RefusedError:
    """What the account may not do (403, code 40310000)."""
    return RefusedError(403, 40310000, message, **extra)


def not_found(message: str) -> RefusedError:
    """There is no such thing (404, code 40410000)."""
    return RefusedError(404, 40410000, message)


@dataclass(slots=True)
class Rules:
    """How the market treats everybody.

    Attributes:
        spread_bps: between bid and ask, around the price.
        slippage_bps: what a market order pays beyond the quote.
        volume_limit: share of a session's volume that one account's orders in a symbol may take.
    """

    spread_bps: float = 2.0
    slippage_bps: float = 1.0
    volume_limit: float = 0.1


@dataclass(slots=True)
class Order:
    """An order and what became of it. Prices in USD.

    Attributes:
        filled_cost: sum of shares times price.
        reserve: buying power it holds while it is open, USD.
        triggered: its stop price was reached.
        not_before: earliest time at which it may be filled.
        sequence: rises with every order of the exchange.
    """

    id: str
    account: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    extended_hours: bool
    position_intent: str
    status: str
    sequence: int
    created_at: UtcTime
    updated_at: UtcTime
    expires_at: UtcTime
    filled_qty: Decimal = ZERO
    filled_cost: Decimal = ZERO
    reserve: Decimal = ZERO
    triggered: bool = False
    not_before: UtcTime | None = None
    filled_at: UtcTime | None = None
    canceled_at: UtcTime | None = None
    expired_at: UtcTime | None = None
    failed_at: UtcTime | None = None
    replaced_at: UtcTime | None = None
    replaced_by: str | None = None
    replaces: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still be filled."""
        return self.status in OPEN_STATES

    @property
    def sign(self) -> int:
        """1 for a buy, -1 for a sell."""
        return 1 if self.side == "buy" else -1

    def left(self, price: Decimal) -> Decimal:
        """Shares still to be filled; those of a notional order depend on the price."""
        if self.qty is not None:
            return self.qty - self.filled_qty
        assert self.notional is not None
        return ((self.notional - self.filled_cost) / price).quantize(SHARE, "ROUND_DOWN")


@dataclass(slots=True)
class Position:
    """Shares held; negative where sold short."""

    symbol: str
    qty: Decimal
    average_price: Decimal


@dataclass(slots=True)
class Activity:
    """A fill or another booking, in the words of the API."""

    id: str
    account: str
    at: UtcTime
    body: dict[str, Any]


def _configurations() -> dict[str, Any]:
    return {
        "disable_overnight_trading": False,
        "dtbp_check": "entry",
        "fractional_trading": True,
        "max_margin_multiplier": "2",
        "max_options_trading_level": 0,
        "no_shorting": False,
        "pdt_check": "entry",
        "ptp_no_exception_entry": False,
        "suspend_trade": False,
        "trade_confirm_email": "all",
    }


@dataclass(slots=True)
class Account:
    """Cash and everything that hangs off one key.

    Attributes:
        secret_hash: SHA-256 of the secret key: the key itself is never stored.
        reserved: buying power that open orders hold, USD.
        book: open orders by symbol and side.
        equity: by day, at the close.
    """

    id: str
    key: str
    secret_hash: str
    number: str
    created_at: UtcTime
    cash: Decimal = STARTING_CASH
    base_value: Decimal = STARTING_CASH
    configurations: dict[str, Any] = field(default_factory=_configurations)
    positions: dict[str, Position] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    by_client_id: dict[str, Order] = field(default_factory=dict)
    open_orders: dict[str, Order] = field(default_factory=dict)
    book: dict[tuple[str, str], dict[str, Order]] = field(default_factory=dict)
    reserved: Decimal = ZERO
    activities: list[Activity] = field(default_factory=list)
    equity: dict[date, Decimal] = field(default_factory=dict)

    def add(self, order: Order) -> None:
        """Take an order in, whatever its state."""
        self.orders[order.id] = order
        self.by_client_id[order.client_order_id] = order
        if order.is_open:
            self.open(order)

    def open(self, order: Order) -> None:
        """Count an order among the open ones."""
        self.open_orders[order.id] = order
        self.book.setdefault((order.symbol, order.side), {})[order.id] = order
        self.reserved += order.reserve

    def shut(self, order: Order) -> None:
        """Count it no longer."""
        if self.open_orders.pop(order.id, None) is not None:
            del self.book[order.symbol, order.side][order.id]
            self.reserved -= order.reserve

    def open_in(self, symbol: str, *sides: str) -> list[Order]:
        """The open orders in a symbol, of one side or both."""
        return [order for side in sides or ("buy", "sell") for order in self.book.get((symbol, side), {}).values()]


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """Something a company does.

    Attributes:
        kind: "split", "dividend" or "delisting".
        day: ex-day, or the first day without trade.
        value: new shares for an old one; USD a share; USD paid for a share of a delisted company, None for its last
            price.
        closes_positions: whether those of a delisted company are paid out.
    """

    kind: str
    symbol: str
    day: date
    value: Decimal | None = None
    closes_positions: bool = True
