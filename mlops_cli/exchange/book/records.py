"""The records of the exchange (accounts, orders, positions, activities, rules) and the errors of its API."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime

from mlops_cli.errors import BrokerError

ZERO = Decimal(0)
SHARE = Decimal("0.000000001")
"""The smallest part of a share: Alpaca keeps nine decimal places."""
TICK = Decimal("0.0001")
"""The smallest price difference in USD."""
STARTING_CASH = Decimal(100_000)
OPEN_STATES = frozenset({"accepted", "pending_new", "new", "partially_filled"})
IMMEDIATE = ("ioc", "fok")
"""Times in force of orders that are filled immediately or canceled."""


def _in_utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


UtcTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time whose `tzinfo` is `datetime.UTC` when it is read from JSON: two different zones take ten times as long to
compare."""


def is_whole(shares: Decimal) -> bool:
    """Whether a number of shares contains no fraction of a share."""
    return shares == shares.to_integral_value()


class RefusedError(BrokerError):
    """A request is refused, with the HTTP status, Alpaca's own code (a status and five digits) and a body.

    `extra` are further members of the body.
    """

    def __init__(self, status: int, code: int, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"code": code, "message": message, **extra}


def refused(message: str) -> RefusedError:
    """The request is malformed (422, code 40010001)."""
    return RefusedError(422, 40010001, message)


def unprocessable(message: str) -> RefusedError:
    """The request is well-formed but cannot be fulfilled (422, code 42210000)."""
    return RefusedError(422, 42210000, message)


def forbidden(message: str, **extra: Any) -> RefusedError:
    """The account is not allowed to do this (403, code 40310000)."""
    return RefusedError(403, 40310000, message, **extra)


def not_found(message: str) -> RefusedError:
    """What was asked for does not exist (404, code 40410000)."""
    return RefusedError(404, 40410000, message)


@dataclass(slots=True)
class MarketRules:
    """The conditions under which the market fills orders.

    Attributes:
        spread_bps: distance of bid and ask, in basis points of the price.
        slippage_bps: what a market order pays beyond the quote, in basis points.
        volume_limit: fraction of a session's volume that the orders of one account in one symbol may take.
    """

    spread_bps: float = 2.0
    slippage_bps: float = 1.0
    volume_limit: float = 0.1


@dataclass(slots=True)
class Order:
    """An order and its state. Prices in USD.

    Attributes:
        filled_cost: sum of shares times price over all fills, in USD.
        reserve: buying power that the order holds while it is open, in USD.
        triggered: whether the stop price was reached.
        not_before: earliest time at which the order may be filled.
        sequence: number of the order; it rises with every order of the exchange.
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
        """Whether the order can still be filled."""
        return self.status in OPEN_STATES

    @property
    def sign(self) -> int:
        """1 for a buy, -1 for a sell."""
        return 1 if self.side == "buy" else -1

    @property
    def closes_position(self) -> bool:
        """Whether the order closes or reduces a position."""
        return self.position_intent.endswith("close")

    def left(self, price: Decimal) -> Decimal:
        """Shares still to be filled; for a notional order they depend on the price (USD)."""
        if self.qty is not None:
            return self.qty - self.filled_qty
        assert self.notional is not None
        return ((self.notional - self.filled_cost) / price).quantize(SHARE, "ROUND_DOWN")


@dataclass(slots=True)
class Position:
    """Shares of one symbol that an account holds (negative for a short position), and their average price in USD."""

    symbol: str
    qty: Decimal
    average_price: Decimal


@dataclass(slots=True)
class Activity:
    """A fill or another booking of the account with the id `account`; `body` is how the API shows it."""

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
    """The account of one key. Amounts in USD.

    Attributes:
        secret_hash: SHA-256 of the secret; the secret itself is never stored.
        base_value: cash with which the account began.
        positions: by symbol; `orders` by id, `by_client_id` by the client's own id.
        open_by_side: open orders by id, for each symbol and side.
        reserved: buying power that open orders hold.
        equity: at the close, by day.
        trading_blocked: whether the broker accepts no orders of the account; with `account_blocked`, no cancelations
            either. `transfers_blocked` is only shown.
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
    open_by_side: dict[tuple[str, str], dict[str, Order]] = field(default_factory=dict)
    reserved: Decimal = ZERO
    activities: list[Activity] = field(default_factory=list)
    equity: dict[date, Decimal] = field(default_factory=dict)
    account_blocked: bool = False
    trading_blocked: bool = False
    transfers_blocked: bool = False

    def add(self, order: Order) -> None:
        """Add an order, open or not."""
        self.orders[order.id] = order
        self.by_client_id[order.client_order_id] = order
        if order.is_open:
            self.add_open(order)

    def add_open(self, order: Order) -> None:
        """Add an order to the open ones and reserve its buying power."""
        self.open_orders[order.id] = order
        self.open_by_side.setdefault((order.symbol, order.side), {})[order.id] = order
        self.reserved += order.reserve

    def remove_open(self, order: Order) -> None:
        """Take an order out of the open ones, if it is there, and free its buying power."""
        if self.open_orders.pop(order.id, None) is not None:
            del self.open_by_side[order.symbol, order.side][order.id]
            self.reserved -= order.reserve

    def open_orders_in(self, symbol: str, side: str | None = None) -> list[Order]:
        """The open orders in a symbol, of one side or of both."""
        sides = ("buy", "sell") if side is None else (side,)
        return [order for each in sides for order in self.open_by_side.get((symbol, each), {}).values()]


@dataclass(frozen=True, slots=True)
class AssetFlags:
    """What the broker allows in a symbol.

    Attributes:
        tradable: whether it accepts orders, and fills those that are open.
        shortable: whether shares can be sold short.
        easy_to_borrow: if not, short sales must be day orders.
        fractionable: whether orders may contain fractions of shares.
    """

    tradable: bool = True
    shortable: bool = True
    easy_to_borrow: bool = True
    fractionable: bool = True


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """A split, a dividend, a delisting, a change of name or a spin-off.

    Attributes:
        kind: "split", "dividend", "delisting", "rename" or "spin_off".
        day: the first day with new shares, without the dividend, without trade, or with the new symbol.
        value: split: new shares for an old one. Dividend: USD per share. Delisting: USD paid for a share, None for the
            last price. Spin-off: shares of the new company for one of the old. Rename: None.
        closes_positions: whether positions in a delisted company are paid out.
        new_symbol: of a renamed company, or of the new one.
        price: of a share of the new company, in USD; None if it has a price table.
        cash_in_lieu: whether fractions of shares that come from whole shares are paid out.
    """

    kind: str
    symbol: str
    day: date
    value: Decimal | None = None
    closes_positions: bool = True
    new_symbol: str | None = None
    price: Decimal | None = None
    cash_in_lieu: bool = True
