"""The cost model: the expected cost of a trade, which forecasts and fills are compared with."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from mlops_cli.config.schemas.trading import Costs

BPS = Decimal(10_000)
"""Basis points in 1."""


def one_way_bps(costs: Costs, side: str) -> float:
    """Cost of one trade in basis points of its value; `side`: buy or sell."""
    fee = costs.sell_fee_bps if side == "sell" else 0.0
    return costs.half_spread_bps + costs.slippage_bps + costs.commission_bps + fee


def round_trip_bps(costs: Costs) -> float:
    """Cost of opening and closing a position, in basis points of its value."""
    return one_way_bps(costs, "buy") + one_way_bps(costs, "sell")


def cost_factor(costs: Costs, side: str) -> Decimal:
    """One trade's cost as a share of its value, exact for money."""
    return exact(one_way_bps(costs, side)) / BPS


def expected_price(price: Decimal, side: str, costs: Costs) -> Decimal:
    """The price at which the model expects a trade to be filled, without commission and fees."""
    worse = exact(costs.half_spread_bps + costs.slippage_bps) / BPS
    return price * (1 + worse if side == "buy" else 1 - worse)


@lru_cache(maxsize=256)
def exact(number: float) -> Decimal:
    """The decimal number that was written in a setting, without binary rounding: 0.1 becomes 0.1."""
    return Decimal(str(number))
