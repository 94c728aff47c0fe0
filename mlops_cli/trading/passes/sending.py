"""The orders of a pass on their way to the broker, and the look at what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic

from mlops_cli.errors import MlopsError
from mlops_cli.trading.contract.broker import Broker, OrderRefused, OutcomeUnknown
from mlops_cli.trading.contract.types import OrderIntent
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.passes.order_window import Window
from mlops_cli.trading.passes.pass_report import PassReport, PassSettings


def send(
    broker: Broker,
    ledger: Ledger,
    intents: Sequence[OrderIntent],
    limits: tuple[Window, PassSettings],
    report: PassReport,
) -> None:
    """Send orders one by one, while it is time and nobody halts the team; what became of them goes to `report`."""
    window, settings = limits
    asked, now = monotonic(), broker.clock().now  # forecasting may have taken long
    told = now
    for intent in intents:
        # by this machine's clock, and by the time on the last order: a slow broker can take minutes for each
        if not window.opens <= max(now + timedelta(seconds=monotonic() - asked), told) < window.closes:
            _end(report, "waiting", f"it became too late to send for {window.target}")
            break
        reason = settings.halts.reason() if settings.halts else None
        if reason:
            _end(report, "halted", f"halted: {reason}")
            break
        try:
            order = broker.submit(intent)
        except OrderRefused as error:
            report.refused[intent.client_order_id] = error.message
            _note(ledger, intent, "refused", error.message, now)
        except OutcomeUnknown as error:
            report.unknown[intent.client_order_id] = error.message
            _note(ledger, intent, "unknown", error.message, now)
        except MlopsError as error:  # no use to go on; this one may have been taken
            report.unknown[intent.client_order_id] = error.message
            _note(ledger, intent, "unknown", error.message, now)
            _end(report, "stopped", f"sending stopped: {error.message}")
            break
        else:
            told = max(told, order.submitted_at)
            ledger.record_orders([order], now)
            report.sent.append(intent.client_order_id)
    _look_again(broker, ledger, now, report)
    report.alerts += [f"refused: {name}: {why}" for name, why in report.refused.items()]
    report.alerts += [f"unknown: {name}: {why}" for name, why in report.unknown.items()]
    report.text = report.text or _summary(report, window)


def _look_again(broker: Broker, ledger: Ledger, now: datetime, report: PassReport) -> None:
    """What the broker has must be what was meant; an order of unknown fate may turn up."""
    if report.outcome == "stopped" or not (report.sent or report.unknown):
        return
    try:
        orders = broker.orders_since(ledger.horizon())
    except MlopsError as error:
        _end(report, "stopped", f"after the orders: {error.message}")
        return
    ledger.record_orders(orders, now)
    for name in report.unknown.keys() & {order.client_order_id for order in orders}:
        del report.unknown[name]
        report.sent.append(name)


def _note(ledger: Ledger, intent: OrderIntent, state: str, words: str, now: datetime) -> None:
    ledger.set_state(intent.client_order_id, state, now, words)
    ledger.event(now, state, intent.ticker, words)


def _end(report: PassReport, outcome: str, text: str) -> None:
    report.end(outcome, text).alerts.append(text)


def _summary(report: PassReport, window: Window) -> str:
    parts = [f"{len(report.sent)} orders sent for {window.target}"]
    parts += [f"{len(report.refused)} refused"] if report.refused else []
    parts += [f"{len(report.unknown)} unknown"] if report.unknown else []
    parts += [f"{len(report.blocked)} tickers blocked"] if report.blocked else []
    return ", ".join(parts)
