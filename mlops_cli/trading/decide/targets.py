"""Chooses the stocks that get a position and their target in lots, before any constraint. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops_cli.config.schemas.trading import Sizing
from mlops_cli.trading.contract.costs import round_trip_bps
from mlops_cli.trading.contract.types import Rules
from mlops_cli.trading.decide.stocks import PolicyInputs, Stock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ROUNDING = 1e-9  # tolerance before rounding down: 0.35 / 0.05 is 6.999...


@dataclass(frozen=True)
class Candidates:
    """Stocks that get a position; all arrays have the same length and order.

    Attributes:
        strength: expected total return in basis points, without its sign.
        volatility: standard deviation of one-day log returns; NaN where unknown.
        width: half width of the forecast's interval in log return, of one level for all stocks; NaN where unknown.
        held: lots held already in the signal's direction, at least 0.
        most: largest number of lots.
    """

    strength: Floats
    volatility: Floats
    width: Floats
    held: Ints
    most: Ints


def target_lots(candidates: Candidates, sizing: Sizing, budget: float, lot: float) -> Ints:
    """Divide a budget among stocks.

    Args:
        candidates: the stocks.
        sizing: equal parts, or parts proportional to the forecast, to 1 / volatility or to 1 / width of the interval.
            An unknown volatility or width is replaced by the median of the others.
        budget: share of equity for all of them together; below 0 counts as 0.
        lot: share of equity of one lot.

    Returns:
        Lots per stock, from 0 to `most`; their sum is at most budget / lot. Each part is rounded down to whole lots.
        The remaining lots go, one each, to the stocks with the largest remainders; ties go first to stocks that hold
        the lot already, then to the strongest forecast, then to the first in the given order.
    """
    if not len(candidates.strength):
        return np.empty(0, np.int64)
    lots = max(0, int(np.floor(budget / lot + ROUNDING)))
    parts = _parts(candidates, sizing)
    exact = np.minimum(max(0.0, budget) / lot * parts, candidates.most)
    whole = np.floor(exact + ROUNDING).astype(np.int64)
    remainder = np.maximum(exact - whole, 0.0).round(9)
    open_for_more = (remainder > 0) & (whole < candidates.most)
    order = np.lexsort((-candidates.strength, candidates.held <= whole, -remainder))
    chosen = order[open_for_more[order]][: max(0, lots - int(whole.sum()))]
    whole[chosen] += 1
    return whole


def _parts(candidates: Candidates, sizing: Sizing) -> Floats:
    """Each stock's part of the budget; they add up to 1."""
    match sizing:
        case "strength":
            raw = candidates.strength
        case "inverse_volatility":
            raw = _inverse(candidates.volatility)
        case "interval":
            raw = _inverse(candidates.width)
        case "equal":
            raw = np.ones_like(candidates.strength)
    total = float(raw.sum())
    return raw / total if total > 0 else np.full_like(raw, 1.0 / len(raw))


def _inverse(risk: Floats) -> Floats:
    """1 / risk; where a risk is unknown, the median of the others stands for it."""
    is_known = np.isfinite(risk) & (risk > 0)
    middle = np.median(risk[is_known]) if is_known.any() else 1.0
    return 1.0 / np.where(is_known, risk, middle)


def set_targets(stocks: Sequence[Stock], inputs: PolicyInputs) -> None:
    """Set `target` and `reason` of each stock.

    Stocks with a position that the forecast supports, or with a forecast strong enough to open one, share the budget;
    all others get the target 0 (but a stock without a forecast is not traded).
    """
    rules = inputs.rules
    needed = rules.threshold_bps + round_trip_bps(rules.costs)
    chosen = []
    for stock in stocks:
        is_candidate, stock.reason = direction_of(stock, needed, rules)
        if is_candidate:
            chosen.append(stock)
    if not chosen:
        return
    candidates = _candidates(chosen, needed, inputs)
    if rules.sizing == "interval":
        _note_missing_widths(chosen, candidates)
    lots = target_lots(candidates, rules.sizing, _budget(stocks, inputs), rules.lot_fraction)
    for stock, number in zip(chosen, lots.tolist(), strict=True):
        stock.target = number if (stock.forecast or stock.lots) > 0 else -number


def direction_of(stock: Stock, needed: float, rules: Rules) -> tuple[bool, str]:
    """Whether a position in a stock is wanted, and why; opening one needs a forecast of `needed` basis points."""
    forecast = stock.forecast
    if forecast is None:
        return False, "held without a forecast" if stock.signal is None else "none of its models may trade"
    text = _words(stock)
    if stock.lots and not (stock.lots < 0 and rules.positions == "long_only"):
        if forecast * stock.lots < 0:
            return False, f"{text} is against the position"
        return True, f"{text} supports the position"
    if abs(forecast) < needed:
        return False, f"{text}, less than the {needed:.2f} that a position needs"
    if forecast < 0 and rules.positions == "long_only":
        return False, f"{text}: down, and positions are long_only"
    return forecast != 0, f"{text}, at least the {needed:.2f} that a position needs"


def _words(stock: Stock) -> str:
    """The forecast of a stock that has one."""
    dividend = stock.signal.dividend if stock.signal else 0.0
    return f"forecast {stock.forecast:+.2f} bps" + (f" with the dividend of {dividend:.4g} USD" if dividend else "")


def _budget(stocks: Sequence[Stock], inputs: PolicyInputs) -> float:
    """Share of equity for all positions that a forecast supports.

    Positions without a forecast are kept unchanged, so their value is subtracted.
    """
    rules, equity = inputs.rules, inputs.account.equity
    budget = rules.max_gross if rules.positions == "long_short" else min(rules.max_gross, 1 - rules.cash_floor)
    if equity <= 0:
        return budget
    without_forecast = [stock.position for stock in stocks if stock.position and stock.forecast is None]
    return budget - float(sum(abs(position.value) for position in without_forecast) / equity)


def _candidates(chosen: Sequence[Stock], needed: float, inputs: PolicyInputs) -> Candidates:
    rules, volatilities = inputs.rules, inputs.context.volatilities
    cap = int(rules.max_weight / rules.lot_fraction + 1e-9)
    held = np.array([abs(stock.lots) for stock in chosen])
    strength = np.array([abs(stock.forecast or 0.0) for stock in chosen])
    return Candidates(
        strength=strength,
        volatility=np.array([volatilities.get(stock.ticker, math.nan) for stock in chosen]),
        width=np.array(_widths(chosen)),
        held=held,
        # a forecast too weak to open a position may keep one, but not add to it
        most=np.where(strength >= needed, cap, np.minimum(cap, held)),
    )


def _widths(chosen: Sequence[Stock]) -> list[float]:
    """Half width of each stock's interval, NaN without one.

    Widths compare only at one level: that of most stocks, and of several such the lowest, which needs the fewest
    sessions to be known.
    """
    by_stock = [{each.level: each.width for each in stock.signal.intervals} if stock.signal else {} for stock in chosen]
    levels = Counter(level for widths in by_stock for level in widths)
    level = min(levels, key=lambda each: (-levels[each], each), default=math.nan)
    return [widths.get(level, math.nan) for widths in by_stock]


def _note_missing_widths(chosen: Sequence[Stock], candidates: Candidates) -> None:
    """Say of each stock without an interval how it is sized instead."""
    instead = "as the median of the others" if np.isfinite(candidates.width).any() else "equally, as no stock has one"
    for stock, width in zip(chosen, candidates.width.tolist(), strict=True):
        if not math.isfinite(width):
            stock.reason += f"; no interval, sized {instead}"
