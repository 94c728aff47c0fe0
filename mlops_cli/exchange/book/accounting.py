"""The accounts' bookkeeping: what a fill changes, what an account is worth, and what it may still buy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from mlops_cli.exchange.book.activities import plain
from mlops_cli.exchange.book.records import SHARE, TICK, ZERO, Account, Order, Position, forbidden

COLLAR = Decimal("1.03")
"""Alpaca values orders without a limit, and short sales, at 3% above the ask."""
CASH_ONLY, REG_T = Decimal(1), Decimal(2)
"""Multipliers of an account without margin, and of Regulation T for positions held overnight."""
LEAST_EQUITY_FOR_MARGIN = Decimal(2000)
Price = Callable[[str], Decimal]


@dataclass(frozen=True, slots=True)
class Worth:
    """The value of an account at one moment in USD; `short` is negative, `reserved` is held by open orders.

    `multiplier` says how many times the equity may be invested; with 1 there is no margin and no short sale.
    """

    cash: Decimal
    long: Decimal
    short: Decimal
    reserved: Decimal
    multiplier: Decimal

    @property
    def equity(self) -> Decimal:
        """Cash and positions together."""
        return self.cash + self.long + self.short

    @property
    def initial_margin(self) -> Decimal:
        """The part of the positions that must be the account's own money: half of them by Regulation T."""
        return (self.long - self.short) / min(self.multiplier, REG_T)

    @property
    def buying_power(self) -> Decimal:
        """For how much the account may still buy."""
        return self._power(self.multiplier)

    @property
    def regt_buying_power(self) -> Decimal:
        """For how much the account may still buy shares that it holds overnight."""
        return self._power(min(self.multiplier, REG_T))

    def _power(self, multiplier: Decimal) -> Decimal:
        return max(ZERO, self.equity * multiplier - (self.long - self.short) - self.reserved)


def worth(account: Account, price: Price) -> Worth:
    """Value an account; `price` gives the price in USD of a symbol."""
    values = [position.qty * price(position.symbol) for position in account.positions.values()]
    long = sum((value for value in values if value > 0), ZERO)
    short = sum((value for value in values if value < 0), ZERO)
    margin = account.cash + long + short >= LEAST_EQUITY_FOR_MARGIN
    multiplier = Decimal(account.configurations["max_margin_multiplier"]) if margin else CASH_ONLY
    return Worth(account.cash, long, short, account.reserved, multiplier)


def cost(order: Order, ask: Decimal) -> Decimal:
    """Buying power in USD that an order needs which opens or enlarges a position.

    Source: Alpaca's documentation, "Orders at Alpaca", buying power.
    """
    if order.qty is None:
        assert order.notional is not None
        return order.notional - order.filled_cost
    if order.limit_price is None:
        price = max(ask, order.stop_price or ZERO) * COLLAR
    else:  # a short sale with a limit far below the market is filled at the market price
        price = order.limit_price if order.side == "buy" else max(order.limit_price, ask * COLLAR)
    return (order.qty - order.filled_qty) * price


def available(account: Account, symbol: str) -> Decimal:
    """Shares of a position that no open order is about to close; negative for a short position."""
    position = account.positions.get(symbol)
    if position is None:
        return ZERO
    sign = 1 if position.qty > 0 else -1
    closing = account.open_orders_in(symbol, "sell" if sign > 0 else "buy")
    return position.qty - sign * sum((order.left(TICK) if order.qty else ZERO for order in closing), ZERO)


def check_shares(account: Account, order: Order, shares: Decimal) -> None:
    """Refuse an order that closes more of a position than there is.

    Raises:
        RefusedError: the order would turn a long position short or a short one long, or open orders hold the shares.
    """
    position = account.positions.get(order.symbol)
    if position is None or position.qty * order.sign > 0:
        return
    free = abs(available(account, order.symbol))
    if shares > free:
        raise forbidden(
            f"insufficient qty available for order (requested: {plain(shares)}, available: {plain(free)})",
            available=plain(free),
            existing_qty=plain(abs(position.qty)),
            held_for_orders=plain(abs(position.qty) - free),
            related_orders=[other.id for other in account.open_orders_in(order.symbol, order.side)],
            symbol=order.symbol,
        )


def book_fill(account: Account, order: Order, shares: Decimal, price: Decimal) -> None:
    """Change cash, position and reserve of an account by a fill of `shares` at `price` (USD)."""
    _release_reserve(account, order, shares, shares * price)
    account.cash -= order.sign * shares * price
    order.filled_qty += shares
    order.filled_cost += shares * price
    add_shares(account, order.symbol, order.sign * shares, price)


def _release_reserve(account: Account, order: Order, shares: Decimal, value: Decimal) -> None:
    """Of the buying power that an order holds, free the part of the shares that are filled now."""
    before = order.reserve
    if order.qty is None:
        order.reserve = max(ZERO, before - value)
    else:
        left = order.qty - order.filled_qty
        order.reserve = (before * (left - shares) / left).quantize(TICK)
    account.reserved += order.reserve - before


def add_shares(account: Account, symbol: str, change: Decimal, price: Decimal) -> None:
    """Add shares at a price in USD (negative: take them away) to a position; opens or removes it where needed."""
    position = account.positions.get(symbol)
    if position is None:
        account.positions[symbol] = Position(symbol, change, price)
        return
    after = position.qty + change
    if after == 0:
        del account.positions[symbol]
    elif position.qty * change > 0:
        position.average_price = (position.average_price * position.qty + price * change) / after
    elif position.qty * after < 0:
        position.average_price = price
    position.qty = after.quantize(SHARE)
