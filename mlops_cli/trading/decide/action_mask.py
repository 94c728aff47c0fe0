"""The action mask: how many lots may be sold or bought, and which constraints limit this. Pure functions.

The actions are ordered `sell k ... hold ... buy k`. A constraint only cuts off an end, so the rest is an interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from mlops_cli.trading.contract.costs import cost_factor, exact
from mlops_cli.trading.contract.types import AccountState, Rules

MOST_LOTS = 1_000_000
COLLAR = Decimal("1.03")
"""For a market order, Alpaca reserves buying power of 103 % of the order's value."""


@dataclass(slots=True)
class Mask:
    """Lots that may be traded: `lowest` (below 0: sold) to `highest`, each with the constraint that set it."""

    lowest: int = -MOST_LOTS
    highest: int = MOST_LOTS
    why_lowest: str = ""
    why_highest: str = ""

    def at_least(self, lots: int, why: str) -> None:
        """Sell no more than this."""
        if lots > self.lowest:
            self.lowest, self.why_lowest = lots, why

    def at_most(self, lots: int, why: str) -> None:
        """Buy no more than this."""
        if lots < self.highest:
            self.highest, self.why_highest = lots, why

    def choose(self, wanted: int) -> tuple[int, str | None]:
        """The allowed action nearest to the wanted one, and the constraint that changed it; None if none did.

        If one constraint demands a larger reduction than another allows, the smaller reduction is made.
        """
        if self.highest < self.lowest:
            low_is_smaller = abs(self.lowest) <= abs(self.highest)
            return (self.lowest, self.why_lowest) if low_is_smaller else (self.highest, self.why_highest)
        if wanted < self.lowest:
            return self.lowest, self.why_lowest
        return (self.highest, self.why_highest) if wanted > self.highest else (wanted, None)


@dataclass(frozen=True, slots=True)
class Position:
    """A position in lots.

    Attributes:
        qty: shares held; below 0: sold short.
        price: of a share, above 0.
        lot_qty: shares per lot; 0 if the value of a lot is too small for one share.
        lots: `qty` in lots, at least 1 (or at most -1) where anything is held.
        may_grow: whether it may be increased; False if the value of a lot is too small for one share. Then the whole
            position counts as one lot.
    """

    qty: Decimal
    price: Decimal
    lot_qty: Decimal
    lots: int
    may_grow: bool = True

    @property
    def value(self) -> Decimal:
        """Market value in dollars; negative for a short position."""
        return self.qty * self.price

    def shares(self, lots: int) -> Decimal:
        """Shares that a trade of `lots` moves, at least 0; closing the position moves all of its shares."""
        return abs(self.qty) if lots == -self.lots else abs(lots) * self.lot_qty


@dataclass(slots=True)
class Budgets:
    """Dollars that orders for a session may still use; each order reduces them.

    Attributes:
        cash: cash above the cash floor, without the proceeds of short sales.
        buying_power: as the broker says; sales that are not filled yet do not add to it.
        session: what remains of max_day_notional; None for no limit.
        turnover: what remains of max_turnover.
        gross: what remains of max_gross.
    """

    cash: Decimal
    buying_power: Decimal
    session: Decimal | None
    turnover: Decimal
    gross: Decimal

    @classmethod
    def of(cls, account: AccountState, values: list[Decimal], sent: Decimal, rules: Rules) -> Budgets:
        """The budgets at the start. `values`: of all positions; `sent`: value of the session's orders sent so far."""
        short = sum((-value for value in values if value < 0), Decimal(0))
        gross = sum((abs(value) for value in values), Decimal(0))
        day = rules.max_day_notional
        return cls(
            cash=account.cash - short - exact(rules.cash_floor) * account.equity,
            buying_power=account.buying_power,
            session=None if day is None else exact(day) - sent,
            turnover=exact(rules.max_turnover) * account.equity - sent,
            gross=exact(rules.max_gross) * account.equity - gross,
        )

    def take(self, position: Position, lots: int, rules: Rules) -> None:
        """Subtract an order. An order that reduces a position frees no money yet, because it may not be filled."""
        value = position.shares(lots) * position.price
        cost = value * cost_factor(rules.costs, "buy" if lots > 0 else "sell")
        self.turnover -= value
        self.session = None if self.session is None else self.session - value
        if position.lots * lots >= 0:  # opens or adds
            self.gross -= value
            self.buying_power -= value * COLLAR + cost
            self.cash -= cost + (value if lots > 0 else 0)
        elif lots > 0:  # buys back what was sold short: its proceeds are not counted in the first place
            self.cash -= cost


def mask_of(position: Position, budgets: Budgets, equity: Decimal, rules: Rules) -> Mask:
    """The actions that the rules and the remaining budgets allow for a position."""
    if position.lot_qty <= 0:
        return Mask(0, 0, "whole shares", "whole shares")
    mask = Mask()
    long_only = rules.positions == "long_only"
    if position.lots > 0 or long_only:
        mask.at_least(-max(0, position.lots), "no shorting" if long_only else "close first")
    if position.lots < 0:
        mask.at_most(-position.lots, "close first")
    if not position.may_grow:
        mask.at_most(max(0, -position.lots), "whole shares")
        mask.at_least(min(0, -position.lots), "whole shares")
    _cap(mask, position, exact(rules.max_weight) * equity)
    limits = [("turnover", budgets.turnover)]
    if budgets.session is not None:
        limits.append(("session limit", budgets.session))
    if rules.max_order_notional is not None:
        limits.append(("order limit", exact(rules.max_order_notional)))
    for why, dollars in limits:
        mask.at_most(_affordable(position, dollars, 1), why)
        mask.at_least(-_affordable(position, dollars, -1), why)
    _money(mask, position, budgets, rules)
    return mask


def _cap(mask: Mask, position: Position, cap: Decimal) -> None:
    """Limit the position to `cap` dollars; a position above it must be reduced."""
    room = _lots(cap - abs(position.value), position.lot_qty * position.price)
    if position.lots >= 0:
        mask.at_most(max(room, -position.lots), "max weight")
    if position.lots <= 0:
        mask.at_least(min(-room, -position.lots), "max weight")


def _money(mask: Mask, position: Position, budgets: Budgets, rules: Rules) -> None:
    """Limit opening and adding by cash, gross exposure and buying power; closing needs none of them."""
    lot = position.lot_qty * position.price
    gross = max(0, _lots(budgets.gross, lot))
    collared = lot * (COLLAR + cost_factor(rules.costs, "sell"))
    if position.lots >= 0:
        lot_with_cost = lot * (1 + cost_factor(rules.costs, "buy"))
        mask.at_most(max(0, _lots(budgets.cash, lot_with_cost)), "cash floor")
        mask.at_most(gross, "gross exposure")
        mask.at_most(max(0, _lots(budgets.buying_power, collared)), "buying power")
    if position.lots <= 0:
        cost = cost_factor(rules.costs, "sell")
        mask.at_least(-gross, "gross exposure")
        mask.at_least(-max(0, _lots(budgets.buying_power, collared)), "buying power")
        if cost:
            mask.at_least(-max(0, _lots(budgets.cash, lot * cost)), "cash floor")


def _affordable(position: Position, dollars: Decimal, direction: int) -> int:
    """Lots that an order of at most `dollars` moves."""
    lots = max(0, _lots(dollars, position.lot_qty * position.price))
    if position.lots * direction >= 0:
        return lots
    # closing trades all shares held, which may be worth up to half a lot more than `held` lots
    held = abs(position.lots)
    return held if abs(position.value) <= dollars else min(held - 1, lots)


def _lots(dollars: Decimal, lot: Decimal) -> int:
    return int((dollars / lot).to_integral_value(ROUND_FLOOR))
