"""When and at what price an order can be filled, given the price's path through a session."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from mlops_cli.exchange.book.records import TICK, ZERO, Order, Rules
from mlops_cli.exchange.market.price_path import PricePath

BPS = 1e-4


@dataclass(frozen=True, slots=True)
class Touch:
    """An order's turn.

    Attributes:
        share: of the session at which it comes.
        price: in USD, rounded to `TICK`.
    """

    share: float
    price: Decimal


def to_price(value: float) -> Decimal:
    """A price as the exchange keeps it."""
    return max(TICK, Decimal(value).quantize(TICK))


def half_spread(rules: Rules, widen: float = 1.0) -> float:
    """Distance of bid and ask from the price, as a share of it; at most a half."""
    return min(0.5, rules.spread_bps * BPS * widen / 2)


def quote(price: float, rules: Rules, widen: float = 1.0) -> tuple[float, float]:
    """Bid and ask around a price."""
    half = half_spread(rules, widen)
    return price * (1 - half), price * (1 + half)


def match(order: Order, path: PricePath, span: tuple[float, float], rules: Rules, widen: float = 1.0) -> Touch | None:
    """Find an order's first touch within a span of the session; marks a stop order that was triggered.

    Market orders pay the quote and the slippage. Limit orders get the quote where it is better than their limit at
    once, else their limit when the quote reaches it. Stop orders become one of both as the price reaches the stop.

    Args:
        order: an open one.
        path: of the session.
        span: from and up to which share of the session.
        rules: of the market.
        widen: factor on the spread.
    """
    start, end = span
    if order.stop_price is not None and not order.triggered:
        reached = path.reaches(float(order.stop_price), start, end, falling=order.side == "sell")
        if reached is None:
            return None
        order.triggered, start = True, reached
    half = half_spread(rules, widen)
    if order.limit_price is None:
        return Touch(start, to_price(path.price(start) * (1 + order.sign * (half + rules.slippage_bps * BPS))))
    limit = float(order.limit_price)
    reached = path.reaches(limit / (1 + order.sign * half), start, end, falling=order.side == "buy")
    if reached is None:
        return None
    if reached > start:
        return Touch(reached, order.limit_price)
    at_once = to_price(path.price(start) * (1 + order.sign * half))
    best = min(at_once, order.limit_price) if order.side == "buy" else max(at_once, order.limit_price)
    return Touch(reached, best)


def allowance(path: PricePath, rules: Rules, used: Decimal) -> Decimal:
    """Shares that may still be taken of a session's volume, whole."""
    if not path.traded:
        return ZERO
    return max(ZERO, Decimal(int(path.volume * rules.volume_limit)) - used)
