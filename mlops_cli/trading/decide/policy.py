"""From forecasts to orders: the whole decision of a team for one session, as a pure function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

import numpy as np

from mlops_cli.errors import DataError
from mlops_cli.trading.contract.costs import BPS, exact, round_trip_bps
from mlops_cli.trading.contract.types import (
    AccountState,
    Decision,
    DecisionContext,
    Holding,
    OrderIntent,
    Rules,
    Side,
    TradeForecast,
    client_order_id,
)
from mlops_cli.trading.decide.action_mask import Budgets, Mask, Position, mask_of
from mlops_cli.trading.decide.signals import Signal, combine
from mlops_cli.trading.decide.sizing import Wanted, target_lots

WHOLE, PART, CENT = Decimal(1), Decimal("0.0001"), Decimal("0.01")
PRICE_GAP = 0.25
"""A price further than this from the forecast's close is taken for a split or a stale quote: nothing is traded."""


@dataclass(slots=True)
class _Stock:
    """A stock on its way through the decision."""

    ticker: str
    signal: Signal | None
    position: Position | None  # None: no price
    refusal: str  # why nothing may be traded, for whatever the forecast says
    target: int = 0  # lots, below 0: short
    reason: str = ""

    @property
    def lots(self) -> int:
        return self.position.lots if self.position else 0

    @property
    def forecast(self) -> float | None:
        return self.signal.forecast_bps if self.signal else None

    @property
    def wanted(self) -> int:
        return 0 if self.forecast is None else self.target - self.lots


def decide(
    forecasts: Sequence[TradeForecast],
    account: AccountState,
    holdings: Mapping[str, Holding],
    prices: Mapping[str, Decimal],
    rules: Rules,
    context: DecisionContext,
) -> list[Decision]:
    """Decide on every stock that is forecast or held.

    Orders that reduce positions come before orders that open them or add to them, and these by strength of forecast:
    what is left of cash, turnover and the limits of a session goes to the strongest. No clock, no file, no chance:
    the same arguments in any order give the same decisions.

    Args:
        forecasts: of one team, for `context.target_session`.
        account: the team's account.
        holdings: by ticker.
        prices: by ticker; where one is missing, the close that the forecast starts from stands for it.
        rules: of the team.
        context: session, volatilities, what was sent already, what is blocked.

    Returns:
        One decision per stock, sorted by ticker; orders are the `intent`s.

    Raises:
        DataError: forecasts of several teams, for another session, or of one ticker from different closes.
    """
    if any((one.team, one.target_session) != (forecasts[0].team, context.target_session) for one in forecasts):
        raise DataError(f"forecasts are not all of one team and for {context.target_session}", "run: mlops run")
    team = forecasts[0].team if forecasts else ""
    signals = combine(forecasts, rules)
    stocks = [
        _stock(ticker, signals.get(ticker), holdings.get(ticker), prices.get(ticker), (account, rules, context))
        for ticker in sorted(signals.keys() | holdings.keys())
    ]
    _set_targets(stocks, account, rules, context)
    values = [stock.position.value for stock in stocks if stock.position]
    values += [
        holdings[stock.ticker].market_value for stock in stocks if not stock.position and stock.ticker in holdings
    ]
    budgets = Budgets.of(account, values, context.sent_notional, rules)
    decisions = [_act(team, stock, (account, rules, context), budgets) for stock in sorted(stocks, key=_turn)]
    return sorted(decisions, key=lambda one: one.ticker)


def _turn(stock: _Stock) -> tuple[bool, float, str]:
    """Reductions first, a position that may be over its cap among them; then the strongest forecasts."""
    adds = stock.lots * stock.wanted > 0 or (stock.lots == 0 and stock.wanted != 0)
    return adds, -abs(stock.forecast or 0.0) if adds else 0.0, stock.ticker


def _stock(
    ticker: str,
    signal: Signal | None,
    holding: Holding | None,
    price: Decimal | None,
    situation: tuple[AccountState, Rules, DecisionContext],
) -> _Stock:
    account, rules, context = situation
    seen = price or (signal.last_close if signal else None) or (holding.last_price if holding else None)
    qty = holding.qty if holding else Decimal(0)
    if seen is None or seen <= 0:
        return _Stock(ticker, signal, None, "no price")
    refusal = context.blocked.get(ticker, "")
    if account.equity <= 0:
        refusal = refusal or "no equity"
    if signal and abs(math.log(seen / signal.last_close)) > PRICE_GAP:
        refusal = refusal or f"price {seen} is far from the close {signal.last_close} that was forecast from"
    return _Stock(ticker, signal, _position(qty, seen, signal, (account, rules)), refusal)


def _position(qty: Decimal, price: Decimal, signal: Signal | None, of: tuple[AccountState, Rules]) -> Position:
    account, rules = of
    # a short sale is of whole shares, at every broker
    short = qty < 0 or (rules.positions == "long_short" and qty == 0 and signal and (signal.forecast_bps or 0.0) < 0)
    step = PART if rules.fractional and not short else WHOLE
    money = max(Decimal(0), exact(rules.lot_fraction) * account.equity)
    lot = (money / price).quantize(step, ROUND_DOWN)
    if qty == 0:
        return Position(qty, price, lot, 0)
    if lot == 0:  # what is held is one lot, to be kept or closed
        return Position(qty, price, abs(qty), 1 if qty > 0 else -1, grows=False)
    lots = max(1, int((abs(qty) / lot).to_integral_value(ROUND_HALF_EVEN)))
    return Position(qty, price, lot, lots if qty > 0 else -lots)


def _set_targets(stocks: list[_Stock], account: AccountState, rules: Rules, context: DecisionContext) -> None:
    """Fill in `target` and `reason`: who has a signal, and how many lots each gets."""
    needed = rules.threshold_bps + round_trip_bps(rules.costs)
    chosen = [stock for stock in stocks if _direction(stock, needed, rules)]
    if not chosen:
        return
    budget = rules.max_gross if rules.positions == "long_short" else min(rules.max_gross, 1 - rules.cash_floor)
    # what no forecast speaks for stays as it is, and its money is not there to be shared out
    idle = sum(abs(s.position.value) for s in stocks if s.position and s.forecast is None)
    budget -= float(idle / account.equity) if account.equity > 0 else 0.0
    cap = int(rules.max_weight / rules.lot_fraction + 1e-9)
    opens = [abs(stock.forecast or 0.0) >= needed for stock in chosen]
    lots = target_lots(
        Wanted(
            strength=np.array([abs(stock.forecast or 0.0) for stock in chosen]),
            volatility=np.array([context.volatilities.get(stock.ticker, math.nan) for stock in chosen]),
            held=np.array([abs(stock.lots) for stock in chosen]),
            most=np.array([cap if new else min(cap, abs(s.lots)) for s, new in zip(chosen, opens, strict=True)]),
        ),
        rules.sizing,
        budget,
        rules.lot_fraction,
    )
    for stock, number in zip(chosen, lots.tolist(), strict=True):
        stock.target = number if (stock.forecast or stock.lots) > 0 else -number


def _direction(stock: _Stock, needed: float, rules: Rules) -> bool:
    """Whether a position is wanted; sets `reason`."""
    forecast = stock.forecast
    if forecast is None:
        stock.reason = "held without a forecast" if stock.signal is None else "no model of it trades"
        return False
    text = f"forecast {forecast:+.2f} bps"
    against = forecast < 0 if stock.lots > 0 else forecast > 0
    if stock.lots and not (stock.lots < 0 and rules.positions == "long_only"):
        stock.reason = f"{text} is against the position" if against else f"{text} speaks for the position"
        return not against
    strong = abs(forecast) >= needed
    stock.reason = f"{text}, {'at least' if strong else 'less than'} the {needed:.2f} that a position needs"
    if strong and forecast < 0 and rules.positions == "long_only":
        stock.reason = f"{text}: down, and positions are long_only"
        return False
    return strong and forecast != 0


def _act(
    team: str, stock: _Stock, situation: tuple[AccountState, Rules, DecisionContext], budgets: Budgets
) -> Decision:
    """Choose among the actions left, and take the order's money out of the budgets."""
    account, rules, context = situation
    position = stock.position
    mask = Mask()
    if stock.refusal or position is None:
        mask.nothing(stock.refusal)
    elif stock.forecast is None:
        mask.nothing(stock.reason)  # neither a missing forecast nor a missing skill is a reason to sell
    else:
        mask = mask_of(position, budgets, account.equity, rules)
    lots, bound = mask.choose(stock.wanted)
    decision = _decision(team, stock, (lots, mask, bound), account, rules, context)
    if lots == 0 or position is None:
        return decision
    value = position.shares(lots) * position.price
    if value < exact(rules.min_order_notional):
        return replace(decision, action="hold", lots=0, bound="minimum order", target_weight=decision.current_weight)
    budgets.take(position, lots, rules)
    return replace(decision, intent=_intent(decision, stock, position, rules))


def _decision(
    team: str,
    stock: _Stock,
    choice: tuple[int, Mask, str | None],
    account: AccountState,
    rules: Rules,
    context: DecisionContext,
) -> Decision:
    lots, mask, bound = choice
    position, signal = stock.position, stock.signal
    shares = position.shares(lots) * (1 if lots > 0 else -1) if position and lots else Decimal(0)
    equity = account.equity if account.equity > 0 else Decimal(1)
    return Decision(
        team=team,
        ticker=stock.ticker,
        session=context.target_session,
        action="buy" if lots > 0 else "sell" if lots < 0 else "hold",
        lots=lots,
        allowed=(min(mask.lowest, mask.highest), max(mask.lowest, mask.highest)),
        wanted_lots=stock.wanted,
        bound=bound,
        forecast_bps=stock.forecast,
        cost_bps=round_trip_bps(rules.costs),
        current_weight=float(position.value / equity) if position else 0.0,
        target_weight=float((position.value + shares * position.price) / equity) if position else 0.0,
        price=position.price if position else None,
        models=signal.models if signal else (),
        reasons=(stock.reason or stock.refusal, *(signal.notes if signal else ())),
        intent=None,
    )


def _intent(decision: Decision, stock: _Stock, position: Position, rules: Rules) -> OrderIntent:
    assert stock.signal is not None  # without a signal nothing is traded
    buys = decision.lots > 0
    limit = None
    if rules.order == "limit":
        worse = exact(rules.limit_offset_bps) / BPS
        limit = (position.price * (1 + worse if buys else 1 - worse)).quantize(CENT)
    side: Side = "buy" if buys else "sell"
    return OrderIntent(
        team=decision.team,
        ticker=decision.ticker,
        session=decision.session,
        side=side,
        qty=position.shares(decision.lots),
        notional=None,
        type=rules.order,
        limit_price=limit,
        time_in_force="day",
        client_order_id=client_order_id(decision.team, decision.ticker, decision.session, side, stock.signal.version),
        model=stock.signal.model,
        version=stock.signal.version,
        forecast_bps=decision.forecast_bps or 0.0,
        price_seen=position.price,
        reasons=decision.reasons,
    )
