"""Which stocks get a position, and how many lots each: the target of each stock before any constraint. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlops_cli.trading.contract.costs import round_trip_bps
from mlops_cli.trading.contract.types import Rules
from mlops_cli.trading.decide.sizing import Candidates, target_lots
from mlops_cli.trading.decide.stocks import Situation, Stock


class Direction(NamedTuple):
    """Whether a position is wanted, and why, in words."""

    wanted: bool
    reason: str


def set_targets(stocks: Sequence[Stock], situation: Situation) -> None:
    """Set `target` and `reason` of each stock.

    Stocks with a position that the forecast supports, or with a forecast strong enough to open one, share the budget;
    all others get the target 0 (which a stock without a forecast does not trade towards).
    """
    rules = situation.rules
    needed = rules.threshold_bps + round_trip_bps(rules.costs)
    chosen = []
    for stock in stocks:
        direction = direction_of(stock, needed, rules)
        stock.reason = direction.reason
        if direction.wanted:
            chosen.append(stock)
    if not chosen:
        return
    candidates = _candidates(chosen, needed, situation)
    lots = target_lots(candidates, rules.sizing, _budget(stocks, situation), rules.lot_fraction)
    for stock, number in zip(chosen, lots.tolist(), strict=True):
        stock.target = number if (stock.forecast or stock.lots) > 0 else -number


def direction_of(stock: Stock, needed: float, rules: Rules) -> Direction:
    """Whether a position in a stock is wanted.

    Args:
        stock: with its signal and position.
        needed: basis points that a forecast must have to open a position.
        rules: of the team.
    """
    forecast = stock.forecast
    if forecast is None:
        return Direction(False, "held without a forecast" if stock.signal is None else "no model of it trades")
    text = f"forecast {forecast:+.2f} bps"
    if stock.lots and not (stock.lots < 0 and rules.positions == "long_only"):
        if forecast * stock.lots < 0:
            return Direction(False, f"{text} is against the position")
        return Direction(True, f"{text} speaks for the position")
    if abs(forecast) < needed:
        return Direction(False, f"{text}, less than the {needed:.2f} that a position needs")
    if forecast < 0 and rules.positions == "long_only":
        return Direction(False, f"{text}: down, and positions are long_only")
    return Direction(forecast != 0, f"{text}, at least the {needed:.2f} that a position needs")


def _budget(stocks: Sequence[Stock], situation: Situation) -> float:
    """Share of equity for all positions that a forecast supports.

    What is held without a forecast stays as it is, so its money cannot be shared out.
    """
    rules, equity = situation.rules, situation.account.equity
    budget = rules.max_gross if rules.positions == "long_short" else min(rules.max_gross, 1 - rules.cash_floor)
    if equity <= 0:
        return budget
    without_forecast = [stock.position for stock in stocks if stock.position and stock.forecast is None]
    return budget - float(sum(abs(position.value) for position in without_forecast) / equity)


def _candidates(chosen: Sequence[Stock], needed: float, situation: Situation) -> Candidates:
    rules, volatilities = situation.rules, situation.context.volatilities
    cap = int(rules.max_weight / rules.lot_fraction + 1e-9)
    held = np.array([abs(stock.lots) for stock in chosen])
    strength = np.array([abs(stock.forecast or 0.0) for stock in chosen])
    return Candidates(
        strength=strength,
        volatility=np.array([volatilities.get(stock.ticker, math.nan) for stock in chosen]),
        held=held,
        # a forecast too weak to open a position may keep one, but not add to it
        most=np.where(strength >= needed, cap, np.minimum(cap, held)),
    )
