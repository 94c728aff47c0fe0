"""The books of an account: what a fill does to it, what it is worth, and what it may still buy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from mlops_cli.exchange.model import SHARE, TICK, ZERO, Account, Order, Position, forbidden

COLLAR = Decimal("1.03")  # Alpaca counts an order without a limit at 3% above the ask
Price = Callable[[str], Decimal]


@dataclass(frozen=True, slots=True)
class Worth:
    """An account at one moment, in USD; `short` is negative."""

    cash: Decimal
    long: Decimal
    short: Decimal
    reserved: Decimal
    multiplier: Decimal

    @property
    def equity(self) -> Decimal:
        """Cash and positions."""
        return self.cash + self.long + self.short

    @property
    def initial_margin(self) -> Decimal:
        """The part of the positions that is the account's own money."""
        return (self.long - self.short) / self.multiplier

    @property
    def buying_power(self) -> Decimal:
        """What may still be bought; without margin that is the cash that is not reserved."""
        if self.multiplier == 1:
            return max(ZERO, self.cash - self.reserved)
        return max(ZERO, (self.equity - self.initial_margin) * self.multiplier - self.reserved)


def worth(account: Account, price: Price) -> Worth:
    """Value the account at these prices."""
    values = [position.qty * price(position.symbol) for position in account.positions.values()]
    long = sum((value for value in values if value > 0), ZERO)
    short = sum((value for value in values if value < 0), ZERO)
    multiplier = Decimal(account.configurations["max_margin_multiplier"])
    return Worth(account.cash, long, short, account.reserved, multiplier)


def cost(order: Order, price: Decimal) -> Decimal:
    """What an order may cost at most, as it stands, at a price of the moment."""
    if order.qty is None:
        assert order.notional is not None
        return order.notional - order.filled_cost
    counted = max(price, order.stop_price or ZERO) * COLLAR
    return (order.qty - order.filled_qty) * (counted if order.limit_price is None else order.limit_price)


def available(account: Account, symbol: str) -> Decimal:
    """Shares of a position that no open order is about to close; negative for a short position."""
    position = account.positions.get(symbol)
    if position is None:
        return ZERO
    sign = 1 if position.qty > 0 else -1
    closing = account.open_in(symbol, "sell" if sign > 0 else "buy")
    return position.qty - sign * sum((order.left(TICK) if order.qty else ZERO for order in closing), ZERO)


def check_shares(account: Account, order: Order, shares: Decimal) -> None:
    """Refuse an order that would turn a long position short or a short one long.

    Raises:
        RefusedError: more shares than the position has to spare.
    """
    position = account.positions.get(order.symbol)
    if position is None or position.qty * order.sign > 0:
        return
    free = abs(available(account, order.symbol))
    if shares > free:
        held = abs(position.qty) - free
        related = [one.id for one in account.open_in(order.symbol, order.side)]
        raise forbidden(
            f"insufficient qty available for order (requested: {shares}, available: {free})",
            available=str(free),
            existing_qty=str(abs(position.qty)),
            held_for_orders=str(held),
            related_orders=related,
            symbol=order.symbol,
        )


def _release(account: Account, order: Order, shares: Decimal, value: Decimal) -> None:
    """Of what an order holds, free the part that is filled now."""
    before = order.reserve
    if order.qty is None:
        order.reserve = max(ZERO, before - value)
    else:
        left = order.qty - order.filled_qty
        order.reserve = (before * (left - shares) / left).quantize(TICK)
    account.reserved += order.reserve - before


def book(account: Account, order: Order, shares: Decimal, price: Decimal) -> None:
    """Book a fill: cash and shares change hands."""
    _release(account, order, shares, shares * price)
    account.cash -= order.sign * shares * price
    order.filled_qty += shares
    order.filled_cost += shares * price
    change = order.sign * shares
    held = account.positions.get(order.symbol)
    if held is None:
        account.positions[order.symbol] = Position(order.symbol, change, price)
        return
    after = held.qty + change
    if after == 0:
        del account.positions[order.symbol]
    elif held.qty * change > 0:
        held.average_price = (held.average_price * held.qty + price * change) / after
    elif held.qty * after < 0:
        held.average_price = price
    held.qty = after.quantize(SHARE)
