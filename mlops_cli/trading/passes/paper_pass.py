"""One pass for one team: reconcile, decide once per session, write the intents, send what is missing, look again.

The same function trades live, on paper and in a replay. It may be killed anywhere and run again at any time: what was
decided is not decided again, and an order that may have been taken is asked for by name before it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic

from mlops_cli.errors import MlopsError
from mlops_cli.trading.contract.broker import Broker, BrokerOrder, OrderRefused, OutcomeUnknown
from mlops_cli.trading.contract.types import OrderIntent, Rules
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.passes.deciding import ForecastsOf, SessionForecasts, decide_session
from mlops_cli.trading.passes.halt import risk_breach
from mlops_cli.trading.passes.liquidate import LIQUIDATION
from mlops_cli.trading.passes.order_window import Window, ask_window, new_york
from mlops_cli.trading.passes.pass_report import PassContext, PassReport, PassSettings
from mlops_cli.trading.passes.reconcile import Reconciled, reconcile

__all__ = ["ForecastsOf", "PassReport", "PassSettings", "SessionForecasts", "paper_pass"]

HALT_EVENTS = ("halted", "stopped", "resumed")
"""Kinds of events: halted by a loss limit, stopped by a halt file, and no longer halted."""


def paper_pass(
    broker: Broker, ledger: Ledger, forecasts: ForecastsOf, rules: Rules, settings: PassSettings
) -> PassReport:
    """Do what is missing for the next session; `forecasts` is called at most once for each session.

    Returns:
        What was done, refused and unknown orders included. An error (BrokerUnreachable, KeysRefused, ConfigError for
        a ledger of another account, any MlopsError of `forecasts`) is stored in the report, because findings made
        before it are returned only once and would otherwise be lost.
    """
    report = PassReport(ledger.team)
    try:
        clock = broker.clock()
        window = ask_window(broker, clock.now, settings.margins)
        report.now, report.target = clock.now, window.target
        written = ledger.copy() if settings.dry_run else ledger
        _run(PassContext(broker, written, rules, settings, clock, window, report), forecasts)
    except MlopsError as error:
        report.end("failed", error.message).alerts.append(error.message)
        report.error = error
    return report


def _run(context: PassContext, forecasts: ForecastsOf) -> None:
    report, window = context.report, context.window
    state = reconcile(context.broker, context.ledger, context.now, window.target)
    _report_state(report, state)
    report.stay_refused = context.ledger.refused(window.target, besides=LIQUIDATION)
    if not context.clock.is_open:
        context.ledger.record_equity(window.session, state.account, context.now)
    _report_undecided(context)
    reason = _halted(context, state)
    if reason is not None:
        resume = context.settings.halts.resume_commands() if context.settings.halts else ""
        hint = f". Go on with: {resume}" if resume else ""
        report.end("halted", f"halted: {reason}; nothing was sent{hint}")
    elif not window.open:
        hours = f"Orders are sent from {new_york(window.opens)} to {new_york(window.closes)}"
        report.end("waiting", f"{window.why}. {hours}")
    else:
        _trade(context, state, forecasts)


def _trade(context: PassContext, state: Reconciled, forecasts: ForecastsOf) -> None:
    reason = decide_session(context, state, forecasts)
    if reason:
        context.report.end("done", reason)
        return
    intents = [intent for intent in context.ledger.unresolved() if _is_due(intent, context, state)]
    if context.settings.dry_run:
        context.report.planned = intents
        text = f"dry run for {context.window.target}: {len(intents)} orders would be sent"
        context.report.end("done", text)
    else:
        send(context, intents)


def _is_due(intent: OrderIntent, context: PassContext, state: Reconciled) -> bool:
    """Whether a pass sends an intent; those of a liquidation are sent by `liquidate` alone, even after a resume."""
    if intent.model == LIQUIDATION or intent.ticker in state.blocked:
        return False
    return intent.session == context.window.target


def _report_state(report: PassReport, state: Reconciled) -> None:
    report.blocked = dict(state.blocked)
    report.booked = state.booked
    report.equity = state.account.equity
    report.notes += state.notes
    report.alerts += [f"{ticker} is blocked: {state.blocked[ticker]}" for ticker in state.newly_blocked]
    report.alerts += [f"unfilled: {words}" for words in state.unfilled]


def _halted(context: PassContext, state: Reconciled) -> str | None:
    """Why the team sends nothing: a halt file, or a loss limit, which makes one; None where neither stops it."""
    peak = context.ledger.peak()
    reason = context.halt_reason()
    _write_halt_event(context, reason)
    if reason:
        return reason
    breach = risk_breach(state.account, peak, context.rules)
    if breach:
        context.report.alerts.append(f"halted: {breach}")
        if context.settings.halts and not context.settings.dry_run:
            context.settings.halts.halt(breach)
            context.ledger.event(context.now, "halted", None, breach)
    return breach


def _write_halt_event(context: PassContext, reason: str | None) -> None:
    """Write halts and resumes into the ledger; people make and remove halt files without it."""
    last = context.ledger.last_event(*HALT_EVENTS)
    halted_by = None if last is None or last["kind"] == "resumed" else str(last["text"])
    if reason and (halted_by is None or not reason.startswith(halted_by)):
        context.ledger.event(context.now, "stopped", None, reason)
    elif halted_by is not None and not reason:
        context.ledger.event(context.now, "resumed", None, "no halt file is there any more")


def _report_undecided(context: PassContext) -> None:
    """Alert once to a session that passed without a decision, unless the team was halted."""
    ledger, window = context.ledger, context.window
    last = ledger.last_decided()
    if last is None or last >= window.session or ledger.decided(window.target):
        return
    halt = ledger.last_event(*HALT_EVENTS)
    text = f"nothing was decided for {window.session}: the last decision was for {last}"
    if (halt is None or halt["kind"] == "resumed") and ledger.tell_once(context.now, "undecided", text):
        context.report.alerts.append(text)


def send(context: PassContext, intents: Sequence[OrderIntent]) -> None:
    """Send orders one by one while the window is open and the team is not halted.

    The context's report gets what was sent, refused and unknown, and why sending ended early.
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
    except MlopsError as error:
        state = "refused" if isinstance(error, OrderRefused) else "unknown"
        (report.refused if state == "refused" else report.unknown)[name] = error.message
        context.ledger.set_state(name, state, now, error.message)
        context.ledger.event(now, state, intent.ticker, error.message)
        if not isinstance(error, OrderRefused | OutcomeUnknown):  # the broker is gone, and may have taken this order
            context.end("stopped", f"sending stopped: {error.message}")
        return None
    context.ledger.record_orders([order], now)
    report.sent.append(name)
    return order


def _look_again(context: PassContext, now: datetime) -> None:
    """Record the broker's orders once more: an order of unknown fate may be among them."""
    report = context.report
    if report.outcome == "stopped" or not (report.sent or report.unknown):
        return
    try:
        orders = context.broker.orders_since(context.ledger.query_from())
    except MlopsError as error:
        context.end("stopped", f"after the orders: {error.message}")
        return
    context.ledger.record_orders(orders, now)
    for name in report.unknown.keys() & {order.client_order_id for order in orders}:
        del report.unknown[name]
        report.sent.append(name)


def _summary(report: PassReport, window: Window) -> str:
    parts = [f"{len(report.sent)} orders sent for {window.target}"]
    parts += [f"{len(report.refused)} refused"] if report.refused else []
    parts += [f"{len(report.stay_refused)} stay refused"] if report.stay_refused else []
    parts += [f"{len(report.unknown)} unknown"] if report.unknown else []
    parts += [f"{len(report.blocked)} tickers blocked"] if report.blocked else []
    return ", ".join(parts)
