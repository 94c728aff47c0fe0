"""A stock before a decision: its signal, its position in lots, and what forbids trading it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from mlops_cli.trading.contract.costs import exact
from mlops_cli.trading.contract.types import AccountState, DecisionContext, Holding, Rules
from mlops_cli.trading.decide.action_mask import Position
from mlops_cli.trading.decide.signals import Signal

WHOLE, PART = Decimal(1), Decimal("0.0001")
PRICE_GAP = 0.25
"""Largest |ln(price / forecast's close)|; a larger one is taken for a split or a stale quote, and nothing is traded."""


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """What all decisions of one session share."""

    team: str
    account: AccountState
    rules: Rules
    context: DecisionContext


@dataclass(slots=True)
class Stock:
    """A stock on its way through the decision.

    Attributes:
        signal: what the team's models say together; None without a forecast.
        position: what is held, in lots; None where no price is known.
        refusal: why the stock may not be traded, independently of its forecast; empty if it may be traded.
        target: lots to be held after the session, below 0: short. Set by `targets.set_targets`.
        reason: why, in words. Set by `targets.set_targets`.
    """

    ticker: str
    signal: Signal | None
    position: Position | None
    refusal: str
    target: int = 0
    reason: str = ""

    @property
    def lots(self) -> int:
        """Lots held now, below 0: short."""
        return self.position.lots if self.position else 0

    @property
    def forecast(self) -> float | None:
        """Expected total return in basis points; None without a forecast, or without a model that may trade."""
        return self.signal.total_bps if self.signal else None

    @property
    def wanted_lots(self) -> int:
        """Lots to buy (above 0) or sell (below 0) to reach the target; 0 without a forecast."""
        return 0 if self.forecast is None else self.target - self.lots

    @property
    def adds(self) -> bool:
        """Whether the wanted trade opens a position or adds to one."""
        return self.lots * self.wanted_lots > 0 or (self.lots == 0 and self.wanted_lots != 0)


def stock_of(
    ticker: str, signal: Signal | None, holding: Holding | None, price: Decimal | None, inputs: PolicyInputs
) -> Stock:
    """Gather what is known of a stock.

    Where `price` is None, the close that the forecast starts from stands for it, else the holding's last price.
    """
    closes = (price, signal.last_close if signal else None, holding.last_price if holding else None)
    seen = next((close for close in closes if close), None)
    if seen is None or seen <= 0:
        return Stock(ticker, signal, None, "no price")
    qty = holding.qty if holding else Decimal(0)
    position = position_of(qty, seen, inputs.account.equity, inputs.rules, shorts=_is_short(qty, signal, inputs))
    return Stock(ticker, signal, position, _refusal(ticker, signal, seen, inputs))


def position_of(qty: Decimal, price: Decimal, equity: Decimal, rules: Rules, *, shorts: bool) -> Position:
    """Express `qty` shares (below 0: sold short) at a price in lots of `rules.lot_fraction` of `equity`.

    `shorts`: whether the position is short, or would be: brokers take short sales in whole shares only.
    """
    step = PART if rules.fractional and not shorts else WHOLE
    lot_value = max(Decimal(0), exact(rules.lot_fraction) * equity)
    lot_qty = (lot_value / price).quantize(step, ROUND_DOWN)
    if qty == 0:
        return Position(qty, price, lot_qty, 0)
    sign = 1 if qty > 0 else -1
    if lot_qty == 0:  # what is held is one lot, to be kept or closed
        return Position(qty, price, abs(qty), sign, may_grow=False)
    lots = max(1, int((abs(qty) / lot_qty).to_integral_value(ROUND_HALF_EVEN)))
    return Position(qty, price, lot_qty, sign * lots)


def _is_short(qty: Decimal, signal: Signal | None, inputs: PolicyInputs) -> bool:
    if qty or signal is None or inputs.rules.positions != "long_short":
        return qty < 0
    return (signal.total_bps or 0.0) < 0


def _refusal(ticker: str, signal: Signal | None, price: Decimal, inputs: PolicyInputs) -> str:
    blocked = inputs.context.blocked.get(ticker)
    if blocked:
        return blocked
    if inputs.account.equity <= 0:
        return "no equity"
    if signal and abs(math.log(price / signal.last_close)) > PRICE_GAP:
        return f"price {price} is far from the close {signal.last_close} that was forecast from"
    return ""
