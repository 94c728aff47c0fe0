"""One pass for one team: reconcile, decide once per session, write the intents, send what is missing, look again.

The same function trades live, on paper and in a replay. It may be killed anywhere and run again at any time: what was
decided is not decided again, and an order that may have been taken is asked for by name before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from mlops_cli.errors import MlopsError
from mlops_cli.market.hours import NEW_YORK
from mlops_cli.trading.contract.broker import Broker
from mlops_cli.trading.contract.types import DecisionContext, Rules, TradeForecast
from mlops_cli.trading.decide.loss_limits import risk_breach
from mlops_cli.trading.decide.policy import decide
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.passes.liquidate import LIQUIDATION, being_closed
from mlops_cli.trading.passes.order_window import PRICES_UNTIL, Window, ask_window, new_york
from mlops_cli.trading.passes.pass_report import PassReport, PassSettings
from mlops_cli.trading.passes.price_checks import gaps, other_closes
from mlops_cli.trading.passes.reconcile import Reconciled, reconcile
from mlops_cli.trading.passes.sending import send

__all__ = ["ForecastsOf", "PassReport", "PassSettings", "SessionForecasts", "paper_pass"]


@dataclass(frozen=True)
class SessionForecasts:
    """What is forecast for one session.

    Attributes:
        forecasts: of the team's models.
        volatilities: by ticker, standard deviation of one-day log returns.
        missing: by model, why there is no forecast and will be none.
        late: by model, why there is none yet: prices of the session that a later pass may find.
    """

    forecasts: Sequence[TradeForecast]
    volatilities: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    late: Mapping[str, str] = field(default_factory=dict)


ForecastsOf = Callable[[date, date], SessionForecasts]
"""Gives the forecasts made on the close of the first session for the second; asked only where a decision is due."""


def paper_pass(
    broker: Broker, ledger: Ledger, forecasts: ForecastsOf, rules: Rules, settings: PassSettings
) -> PassReport:
    """Do what is missing for the next session.

    Args:
        broker: the team's account; its clock and calendar say what time it is.
        ledger: the team's, open for writing.
        forecasts: asked once for each session.
        rules: of the team.
        settings: see `PassSettings`.

    Returns:
        What was done. Refused and unknown orders stand in it, and so does an error (BrokerUnreachable, KeysRefused,
        ConfigError where the ledger is of another account, whatever `forecasts` raises): it must not take along what
        was found before it, for that is told once.
    """
    report = PassReport(ledger.team)
    try:
        _pass(broker, ledger.copy() if settings.dry_run else ledger, forecasts, (rules, settings), report)
    except MlopsError as error:
        report.end("failed", error.message).alerts.append(error.message)
        report.error = error
    return report


def _pass(
    broker: Broker, book: Ledger, forecasts: ForecastsOf, how: tuple[Rules, PassSettings], report: PassReport
) -> PassReport:
    rules, settings = how
    clock = broker.clock()
    window = ask_window(broker, clock.now, settings.margins)
    report.now, report.target = clock.now, window.target
    state = reconcile(broker, book, clock.now, window.target)
    _note_state(report, state)
    if not clock.is_open:
        book.record_equity(window.session, state.account, clock.now)
    _note_undecided(book, window, report)
    reason = _halted(book, state, rules, settings, report)
    if reason is not None:
        way_on = settings.halts.way_on() if settings.halts else ""
        hint = f". Go on with: {way_on}" if way_on else ""
        return report.end("halted", f"halted: {reason}; nothing was sent{hint}")
    if not window.open:
        text = f"{window.why}. Orders are sent from {new_york(window.opens)} to {new_york(window.closes)}"
        return report.end("waiting", text)
    return _trade(broker, book, forecasts, (rules, settings), (window, state), report)


def _trade(
    broker: Broker,
    book: Ledger,
    forecasts: ForecastsOf,
    how: tuple[Rules, PassSettings],
    at: tuple[Window, Reconciled],
    report: PassReport,
) -> PassReport:
    (rules, settings), (window, state) = how, at
    if not book.decided(window.target):
        given = forecasts(window.session, window.target)
        text = _not_now(given, window, book, report)
        if text and not settings.dry_run:
            return report.end("done", text)
        _decide(broker, book, given, rules, at, report)
    intents = [
        one
        for one in book.unresolved()
        # those of a liquidation are sent by `liquidate` alone: who resumed the team has ended it
        if one.session == window.target and one.ticker not in state.blocked and one.model != LIQUIDATION
    ]
    if settings.dry_run:
        report.planned = intents
        return report.end("done", f"dry run for {window.target}: {len(intents)} orders would be sent")
    send(broker, book, intents, (window, settings), report)
    return report


def _note_state(report: PassReport, state: Reconciled) -> None:
    report.blocked = dict(state.blocked)
    report.booked = state.booked
    report.equity = state.account.equity
    report.notes += state.notes
    report.alerts += [f"{ticker} is blocked: {state.blocked[ticker]}" for ticker in state.newly_blocked]
    report.alerts += [f"unfilled: {words}" for words in state.unfilled]


def _halted(ledger: Ledger, state: Reconciled, rules: Rules, settings: PassSettings, report: PassReport) -> str | None:
    peak = ledger.peak()
    reason = settings.halts.reason() if settings.halts else None
    _book_halt(ledger, reason, report)
    breach = None if reason else risk_breach(state.account, peak, rules)
    if breach:
        report.alerts.append(f"halted: {breach}")
        if settings.halts and not settings.dry_run:
            settings.halts.halt(breach)
            assert report.now is not None
            ledger.event(report.now, "halted", None, breach)
    return reason or breach


def _book_halt(ledger: Ledger, reason: str | None, report: PassReport) -> None:
    """Halt files come and go without the ledger: its audit trail gets to know of them here."""
    last = ledger.last_event("halted", "stopped", "resumed")
    stands = last is not None and last["kind"] != "resumed"
    assert report.now is not None
    if reason and not (stands and last is not None and reason.startswith(last["text"])):
        ledger.event(report.now, "stopped", None, reason)
    elif stands and not reason:
        ledger.event(report.now, "resumed", None, "no halt file is there any more")


def _note_undecided(ledger: Ledger, window: Window, report: PassReport) -> None:
    """Tell once of a session that went by without a decision, but for those of a halt."""
    last = ledger.last_decided()
    if last is None or last >= window.session or ledger.decided(window.target):
        return
    halt = ledger.last_event("halted", "stopped", "resumed")
    text = f"nothing was decided for {window.session}: the last decision was for {last}"
    assert report.now is not None
    if (halt is None or halt["kind"] == "resumed") and ledger.tell_once(report.now, "undecided", text):
        report.alerts.append(text)


def _not_now(given: SessionForecasts, window: Window, ledger: Ledger, report: PassReport) -> str:
    """Why nothing is decided now; empty to go on. What is decided for a session is not decided again."""
    until = datetime.combine(window.session, PRICES_UNTIL, NEW_YORK)
    report.missing = {**given.missing, **given.late}
    assert report.now is not None
    if given.late and report.now < until:
        return f"{len(given.late)} models wait for prices of {window.session}; all is decided from {new_york(until)} on"
    if report.missing and not given.forecasts:
        text = f"no model has a forecast for {window.target}: nothing is decided"
        report.needs.append(text)
        if ledger.tell_once(report.now, "no forecast", text):
            report.alerts.append(text)
        return text
    if report.missing:
        report.alerts.append(f"decided without a forecast of {', '.join(sorted(report.missing))}")
    return ""


def _decide(
    broker: Broker,
    ledger: Ledger,
    given: SessionForecasts,
    rules: Rules,
    at: tuple[Window, Reconciled],
    report: PassReport,
) -> None:
    window, state = at
    fitting, report.missing = _fitting(given, window)
    prices = {holding.ticker: holding.last_price for holding in state.holdings.values()}
    prices |= {one.ticker: one.last_close for one in fitting}
    doubted = {
        **other_closes(broker.bars(sorted({one.ticker for one in fitting}), window.session), fitting),
        **gaps(broker.quotes(sorted(prices)), prices, state.holdings),
    }
    closing = dict.fromkeys(being_closed(ledger), "a liquidation of it is under way")
    blocked = {**doubted, **closing, **state.blocked}
    context = DecisionContext(window.target, given.volatilities, ledger.sent_notional(window.target), blocked)
    report.decisions = decide(fitting, state.account, state.holdings, prices, rules, context)
    assert report.now is not None
    ledger.write_decisions(window.target, report.decisions, report.now)
    report.blocked = blocked
    report.alerts += [f"{ticker}: {why}" for ticker, why in blocked.items() if ticker not in state.blocked]
    report.notes += [
        f"{one.ticker} is held: {'; '.join(one.reasons)}"
        for one in report.decisions
        if one.forecast_bps is None and one.ticker in state.holdings
    ]


def _fitting(given: SessionForecasts, window: Window) -> tuple[list[TradeForecast], dict[str, str]]:
    fitting, missing = [], {**given.missing, **given.late}
    for one in given.forecasts:
        if (one.session, one.target_session) == (window.session, window.target):
            fitting.append(one)
        else:
            missing[one.model] = f"its forecast is for {one.target_session}, made on {one.session}"
    return fitting, missing
