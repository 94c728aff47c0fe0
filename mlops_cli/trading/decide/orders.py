"""Turns the target of a stock into an order: action mask, decision, order intent. Pure functions."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

from mlops_cli.trading.contract.costs import BPS, exact, round_trip_bps
from mlops_cli.trading.contract.types import Decision, OrderIntent, Rules, Side, client_order_id
from mlops_cli.trading.decide.action_mask import Budgets, Mask, Position, mask_of
from mlops_cli.trading.decide.signals import Signal
from mlops_cli.trading.decide.stocks import PolicyInputs, Stock

CENT = Decimal("0.01")
PRICE_DECIMALS = 4


def decide_stock(stock: Stock, inputs: PolicyInputs, budgets: Budgets) -> Decision:
    """Choose the allowed action nearest to the wanted one, and subtract the order's value from the budgets."""
    mask = _mask(stock, inputs, budgets)
    decision = _decision(stock, mask, inputs)
    lots = decision.lots
    position, signal, rules = stock.position, stock.signal, inputs.rules
    if lots == 0 or position is None or signal is None:
        return decision
    if position.shares(lots) * position.price < exact(rules.min_order_notional):
        return replace(decision, action="hold", lots=0, bound="minimum order", target_weight=decision.current_weight)
    budgets.take(position, lots, rules)
    return replace(decision, intent=_intent(decision, signal, position, rules))


def _mask(stock: Stock, inputs: PolicyInputs, budgets: Budgets) -> Mask:
    if stock.refusal or stock.position is None:
        return Mask(0, 0, stock.refusal, stock.refusal)
    if stock.forecast is None:
        return Mask(
            0, 0, stock.reason, stock.reason
        )  # neither a missing forecast nor models without skill are a reason to sell
    return mask_of(stock.position, budgets, inputs.account.equity, inputs.rules)


def _decision(stock: Stock, mask: Mask, inputs: PolicyInputs) -> Decision:
    position, signal = stock.position, stock.signal
    lots, bound = mask.choose(stock.wanted_lots)
    trade: Side = "buy" if lots > 0 else "sell"
    return Decision(
        team=inputs.team,
        ticker=stock.ticker,
        session=inputs.context.target_session,
        action=trade if lots else "hold",
        lots=lots,
        allowed=(min(mask.lowest, mask.highest), max(mask.lowest, mask.highest)),
        wanted_lots=stock.wanted_lots,
        bound=bound,
        forecast_bps=signal.forecast_bps if signal else None,
        cost_bps=round_trip_bps(inputs.rules.costs),
        current_weight=_weight(position, 0, inputs.account.equity),
        target_weight=_weight(position, lots, inputs.account.equity),
        price=position.price if position else None,
        models=signal.models if signal else (),
        reasons=(stock.reason or stock.refusal, *(signal.notes if signal else ())),
        intent=None,
        dividend=signal.dividend if signal else 0.0,
        total_bps=stock.forecast,
        intervals=_prices(signal) if signal else (),
    )


def _prices(signal: Signal) -> tuple[tuple[float, float, float], ...]:
    """The signal's intervals as level, lowest and highest price."""

    def price(log_return: float) -> float:
        return round(float(signal.last_close) * math.exp(log_return), PRICE_DECIMALS)

    return tuple((each.level, price(each.lower), price(each.upper)) for each in signal.intervals)


def _weight(position: Position | None, lots: int, equity: Decimal) -> float:
    """The position's value divided by equity after a trade of `lots`; divided by 1 USD if there is no equity."""
    if position is None:
        return 0.0
    traded = position.shares(lots) * (1 if lots > 0 else -1) if lots else Decimal(0)
    return float((position.value + traded * position.price) / (equity if equity > 0 else Decimal(1)))


def _intent(decision: Decision, signal: Signal, position: Position, rules: Rules) -> OrderIntent:
    side: Side = "buy" if decision.lots > 0 else "sell"
    limit = None
    if rules.order == "limit":
        offset = exact(rules.limit_offset_bps) / BPS
        limit = (position.price * (1 + offset if side == "buy" else 1 - offset)).quantize(CENT)
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
        client_order_id=client_order_id(decision.team, decision.ticker, decision.session, side, signal.version),
        model=signal.model,
        version=signal.version,
        forecast_bps=decision.forecast_bps or 0.0,
        price_seen=position.price,
        reasons=decision.reasons,
    )
