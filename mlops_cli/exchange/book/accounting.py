"""The books of an account: what a fill does to it, what it is worth, and what it may still buy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from mlops_cli.exchange.book.activities import plain
from mlops_cli.exchange.book.records import SHARE, TICK, ZERO, Account, Order, Position, forbidden

COLLAR = Decimal("1.03")  # Alpaca counts an order without a limit, and a short sale, at 3% above the ask
CASH_ONLY, REG_T = Decimal(1), Decimal(2)
LEAST_EQUITY_FOR_MARGIN = Decimal(2000)
Price = Callable[[str], Decimal]


@dataclass(frozen=True, slots=True)
class Worth:
    """An account at one moment, in USD; `short` is negative.

    Attributes:
        multiplier: of the equity that may be invested; 1 is an account without margin, which cannot sell short.
    """

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
        """The part of the positions that is the account's own money: half of them by Regulation T."""
        return (self.long - self.short) / min(self.multiplier, REG_T)

    @property
    def buying_power(self) -> Decimal:
        """What may still be bought; without margin or short positions that is the cash that is not reserved."""
        return self._power(self.multiplier)

    @property
    def regt_buying_power(self) -> Decimal:
        """What may still be bought and held overnight."""
        return self._power(min(self.multiplier, REG_T))

    def _power(self, multiplier: Decimal) -> Decimal:
        return max(ZERO, self.equity * multiplier - (self.long - self.short) - self.reserved)


def worth(account: Account, price: Price) -> Worth:
    """Value the account at these prices."""
    values = [position.qty * price(position.symbol) for position in account.positions.values()]
    long = sum((value for value in values if value > 0), ZERO)
    short = sum((value for value in values if value < 0), ZERO)
    margin = account.cash + long + short >= LEAST_EQUITY_FOR_MARGIN
    multiplier = Decimal(account.configurations["max_margin_multiplier"]) if margin else CASH_ONLY
    return Worth(account.cash, long, short, account.reserved, multiplier)


def cost(order: Order, ask: Decimal) -> Decimal:
    """What of the buying power an opening order takes, as it stands.

    Source: Alpaca's documentation, "Orders at Alpaca", buying power.
    """
    if order.qty is None:
        assert order.notional is not None
        return order.notional - order.filled_cost
    if order.limit_price is None:
        counted = max(ask, order.stop_price or ZERO) * COLLAR
    else:  # a short sale far below the market is filled at the market
        counted = order.limit_price if order.side == "buy" else max(order.limit_price, ask * COLLAR)
    return (order.qty - order.filled_qty) * counted


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
            f"insufficient qty available for order (requested: {plain(shares)}, available: {plain(free)})",
            available=plain(free),
            existing_qty=plain(abs(position.qty)),
            held_for_orders=plain(held),
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
