"""The time and price at which an order can be filled, from the price path of a session."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from mlops_cli.exchange.book.records import TICK, ZERO, MarketRules, Order
from mlops_cli.exchange.market.price_path import PricePath

BPS = 1e-4


@dataclass(frozen=True, slots=True)
class Match:
    """The first fraction of the session at which an order can be filled; the price in USD, rounded to `TICK`."""

    fraction: float
    price: Decimal


def to_price(value: float) -> Decimal:
    """A price in USD, rounded to `TICK`; at least one tick."""
    return max(TICK, Decimal(value).quantize(TICK))


def half_spread(rules: MarketRules, factor: float = 1.0) -> float:
    """Distance of bid and ask from the price, as a fraction of the price; at most 0.5."""
    return min(0.5, rules.spread_bps * BPS * factor / 2)


def bid_and_ask(price: float, rules: MarketRules, factor: float = 1.0) -> tuple[float, float]:
    """Bid and ask around a price, in USD; `factor` widens the spread."""
    half = half_spread(rules, factor)
    return price * (1 - half), price * (1 + half)


def match(
    order: Order, path: PricePath, span: tuple[float, float], rules: MarketRules, factor: float = 1.0
) -> Match | None:
    """The first match of an order within a span of a session (two fractions), or None. Marks a stop order as triggered.

    Market orders get the quote and pay the slippage. Limit orders get the quote if it meets their limit at the start,
    else their limit when the quote reaches it. Stop orders become market or limit orders when the price reaches their
    stop price. `factor` makes the spread wider.
    """
    start, end = span
    if order.stop_price is not None and not order.triggered:
        reached = path.reaches(float(order.stop_price), start, end, falling=order.side == "sell")
        if reached is None:
            return None
        order.triggered, start = True, reached
    half = half_spread(rules, factor)
    if order.limit_price is None:
        return Match(start, to_price(path.price(start) * (1 + order.sign * (half + rules.slippage_bps * BPS))))
    limit = float(order.limit_price)
    reached = path.reaches(limit / (1 + order.sign * half), start, end, falling=order.side == "buy")
    if reached is None:
        return None
    if reached > start:
        return Match(reached, order.limit_price)
    at_once = to_price(path.price(start) * (1 + order.sign * half))
    best = min(at_once, order.limit_price) if order.side == "buy" else max(at_once, order.limit_price)
    return Match(reached, best)


def volume_left(path: PricePath, rules: MarketRules, already_traded: Decimal) -> Decimal:
    """Whole shares that an account may still trade in a session. `already_traded`: what it has traded in it."""
    if not path.traded:
        return ZERO
    return max(ZERO, Decimal(int(path.volume * rules.volume_limit)) - already_traded)
