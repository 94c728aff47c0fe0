"""Sending a pass's orders to the broker, and looking at what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic

from mlops_cli.errors import MlopsError
from mlops_cli.trading.contract.broker import BrokerOrder, OrderRefused, OutcomeUnknown
from mlops_cli.trading.contract.types import OrderIntent
from mlops_cli.trading.passes.order_window import Window
from mlops_cli.trading.passes.pass_context import PassContext
from mlops_cli.trading.passes.pass_report import PassReport


def send(context: PassContext, intents: Sequence[OrderIntent]) -> None:
    """Send orders one by one while the window is open and nobody halts the team.

    Args:
        context: of the pass; its report gets what was sent, refused and unknown, and why sending ended early.
        intents: to be sent, in this order.
    """
    report, started = context.report, monotonic()
    start = context.broker.clock().now  # forecasting may have taken long
    latest = start
    for intent in intents:
        # by this machine's clock, and by the time on the last order: a slow broker can take minutes for each
        now = max(start + timedelta(seconds=monotonic() - started), latest)
        if not _may_go_on(context, now):
            break
        order = _submit(context, intent, start)
        latest = max(latest, order.submitted_at) if order else latest
        if report.outcome == "stopped":
            break
    _look_again(context, start)
    report.alerts += [f"refused: {name}: {reason}" for name, reason in report.refused.items()]
    report.alerts += [f"unknown: {name}: {reason}" for name, reason in report.unknown.items()]
    report.text = report.text or _summary(report, context.window)


def _may_go_on(context: PassContext, now: datetime) -> bool:
    """Whether another order may be sent at `now`; ends the pass where it may not."""
    window = context.window
    if not window.opens <= now < window.closes:
        context.end("waiting", f"it became too late to send for {window.target}")
        return False
    reason = context.halt_reason()
    if reason:
        context.end("halted", f"halted: {reason}")
    return not reason


def _submit(context: PassContext, intent: OrderIntent, now: datetime) -> BrokerOrder | None:
    """Send one order and write what became of it; None where it was not taken, or may not have been."""
    report, name = context.report, intent.client_order_id
    try:
        order = context.broker.submit(intent)
    except OrderRefused as error:
        report.refused[name] = error.message
        _write_outcome(context, intent, "refused", error.message, now)
    except OutcomeUnknown as error:
        report.unknown[name] = error.message
        _write_outcome(context, intent, "unknown", error.message, now)
    except MlopsError as error:  # the broker is gone, and may have taken this order
        report.unknown[name] = error.message
        _write_outcome(context, intent, "unknown", error.message, now)
        context.end("stopped", f"sending stopped: {error.message}")
    else:
        context.ledger.record_orders([order], now)
        report.sent.append(name)
        return order
    return None


def _look_again(context: PassContext, now: datetime) -> None:
    """Record the broker's orders once more: an order of unknown fate may be among them."""
    report = context.report
    if report.outcome == "stopped" or not (report.sent or report.unknown):
        return
    try:
        orders = context.broker.orders_since(context.ledger.horizon())
    except MlopsError as error:
        context.end("stopped", f"after the orders: {error.message}")
        return
    context.ledger.record_orders(orders, now)
    for name in report.unknown.keys() & {order.client_order_id for order in orders}:
        del report.unknown[name]
        report.sent.append(name)


def _write_outcome(context: PassContext, intent: OrderIntent, state: str, words: str, now: datetime) -> None:
    context.ledger.set_state(intent.client_order_id, state, now, words)
    context.ledger.event(now, state, intent.ticker, words)


def _summary(report: PassReport, window: Window) -> str:
    parts = [f"{len(report.sent)} orders sent for {window.target}"]
    parts += [f"{len(report.refused)} refused"] if report.refused else []
    parts += [f"{len(report.unknown)} unknown"] if report.unknown else []
    parts += [f"{len(report.blocked)} tickers blocked"] if report.blocked else []
    return ", ".join(parts)
