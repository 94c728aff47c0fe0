"""One pass for one team: reconcile, decide once per session, write the intents, send what is missing, look again.

The same function trades live, on paper and in a replay. It may be killed anywhere and run again at any time: what was
decided is not decided again, and an order that may have been taken is asked for by name before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal

from mlops_cli.trading.broker import Bar, Broker, BrokerUnreachable, OrderRefused, OutcomeUnknown, Quote
from mlops_cli.trading.ledger import Ledger
from mlops_cli.trading.liquidate import being_closed
from mlops_cli.trading.pass_report import PassReport, PassSettings
from mlops_cli.trading.policy import PRICE_GAP, decide
from mlops_cli.trading.reconcile import Reconciled, reconcile
from mlops_cli.trading.risk import risk_breach
from mlops_cli.trading.types import DecisionContext, Holding, OrderIntent, Rules, TradeForecast
from mlops_cli.trading.window import NEW_YORK, Window, ask_window, new_york

__all__ = ["ForecastsOf", "PassReport", "PassSettings", "SessionForecasts", "paper_pass"]
PRICES_UNTIL = time(19, 20)
"""In New York, on the session's day, half days too: how long late prices are waited for. All is decided at once."""
LARGEST_GAP = Decimal(str(PRICE_GAP))
LARGEST_DIFFERENCE = Decimal("0.05")
"""Between two closes of the same session, broker's and ours: feeds differ by cents, a split or a bad price by more."""


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
        What was done. Refused and unknown orders stand in it; they do not raise.

    Raises:
        BrokerUnreachable, KeysRefused: before anything was sent.
        ConfigError: the ledger is of another account.
        MlopsError: whatever `forecasts` raises.
    """
    book = ledger.copy() if settings.dry_run else ledger
    clock = broker.clock()
    window = ask_window(broker, clock.now, settings.margins)
    report = PassReport(ledger.team, now=clock.now, target=window.target)
    state = reconcile(broker, book, clock.now, window.target)
    _note_state(report, state)
    if not clock.is_open:
        book.record_equity(window.session, state.account, clock.now)
    reason = _halted(book, state, rules, settings, report)
    if reason is not None:
        way_on = settings.halts.way_on() if settings.halts else ""
        hint = f". Go on with: {way_on}" if way_on else ""
        return _ended(report, "halted", f"halted: {reason}; nothing was sent{hint}")
    if not window.open:
        text = f"{window.why}. Orders are sent from {new_york(window.opens)} to {new_york(window.closes)}"
        return _ended(report, "waiting", text)
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
        assert report.now is not None
        text = _too_early(given, window, report.now)
        if text and not settings.dry_run:
            report.missing = {**given.missing, **given.late}
            return _ended(report, "done", text)
        _decide(broker, book, given, rules, at, report)
    intents = [one for one in book.unresolved() if one.session == window.target and one.ticker not in state.blocked]
    if settings.dry_run:
        report.planned = intents
        return _ended(report, "done", f"dry run for {window.target}: {len(intents)} orders would be sent")
    _send(broker, book, intents, (window, settings), report)
    return report


def _note_state(report: PassReport, state: Reconciled) -> None:
    report.blocked = dict(state.blocked)
    report.booked = state.booked
    report.equity = state.account.equity
    report.notes += state.notes
    report.alerts += [f"{ticker} is blocked: {state.blocked[ticker]}" for ticker in state.newly_blocked]


def _halted(ledger: Ledger, state: Reconciled, rules: Rules, settings: PassSettings, report: PassReport) -> str | None:
    peak = ledger.peak()
    reason = settings.halts.reason() if settings.halts else None
    breach = None if reason else risk_breach(state.account, peak, rules)
    if breach:
        report.alerts.append(f"halted: {breach}")
        if settings.halts and not settings.dry_run:
            settings.halts.halt(breach)
            assert report.now is not None
            ledger.event(report.now, "halted", None, breach)
    return reason or breach


def _too_early(given: SessionForecasts, window: Window, now: datetime) -> str:
    """Why to decide later; empty for now. What is decided for a session is not decided again."""
    until = datetime.combine(window.session, PRICES_UNTIL, NEW_YORK)
    if given.late and now < until:
        return f"{len(given.late)} models wait for prices of {window.session}; all is decided from {new_york(until)} on"
    if not given.forecasts and (given.late or given.missing):
        return f"no model has a forecast for {window.target}: nothing is decided"
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
    bars = broker.bars(sorted({one.ticker for one in fitting}), window.session)
    gaps = _gaps(broker.quotes(sorted(prices)), prices, state.holdings)
    closing = dict.fromkeys(being_closed(ledger), "a liquidation of it is under way")
    blocked = {**_other_closes(bars, fitting), **gaps, **closing, **state.blocked}
    context = DecisionContext(window.target, given.volatilities, ledger.sent_notional(window.target), blocked)
    report.decisions = decide(fitting, state.account, state.holdings, prices, rules, context)
    assert report.now is not None
    ledger.write_decisions(window.target, report.decisions, report.now)
    report.blocked = blocked
    report.alerts += [f"{ticker}: {why}" for ticker, why in blocked.items() if ticker not in state.blocked]


def _fitting(given: SessionForecasts, window: Window) -> tuple[list[TradeForecast], dict[str, str]]:
    fitting, missing = [], {**given.missing, **given.late}
    for one in given.forecasts:
        if (one.session, one.target_session) == (window.session, window.target):
            fitting.append(one)
        else:
            missing[one.model] = f"its forecast is for {one.target_session}, made on {one.session}"
    return fitting, missing


def _other_closes(bars: Mapping[str, Bar], forecasts: Sequence[TradeForecast]) -> dict[str, str]:
    """Tickers whose close of the session, on which the forecasts were made, is another one at the broker."""
    others = {}
    for one in forecasts:
        theirs = bars[one.ticker].close if one.ticker in bars else one.last_close
        if abs(theirs - one.last_close) > LARGEST_DIFFERENCE * max(theirs, one.last_close):
            others[one.ticker] = (
                f"its close of {one.session} is {theirs:.2f} at the broker and {one.last_close:.2f} here: "
                "a split that one side does not know of, or bad data"
            )
    return others


def _gaps(
    quotes: Mapping[str, Quote], prices: Mapping[str, Decimal], holdings: Mapping[str, Holding]
) -> dict[str, str]:
    """Tickers whose last close is not what the broker quotes: a split that one side does not know of, or bad data."""
    gaps = {}
    for ticker, quote in quotes.items():
        seen, known = quote.middle, prices[ticker]
        # both sides of it: in the evening quotes are often so wide that their middle says nothing
        if seen is not None and (quote.bid > known * (1 + LARGEST_GAP) or quote.ask < known * (1 - LARGEST_GAP)):
            gaps[ticker] = (
                f"the broker quotes {seen:.2f}, the last close known here is {known:.2f}: a split, or bad data"
            )
    for ticker, holding in holdings.items():
        if ticker in prices and prices[ticker] <= 0:
            gaps[ticker] = f"its price is {holding.last_price}"
    return gaps


def _send(
    broker: Broker,
    ledger: Ledger,
    intents: Sequence[OrderIntent],
    limits: tuple[Window, PassSettings],
    report: PassReport,
) -> None:
    window, settings = limits
    # forecasting may have taken long: not a minute into the margin before the open
    now = broker.clock().now
    if intents and not window.opens <= now < window.closes:
        return _ended_with(report, "waiting", f"it became too late to send for {window.target}")
    for intent in intents:
        reason = settings.halts.reason() if settings.halts else None
        if reason:
            return _ended_with(report, "halted", f"halted: {reason}")
        try:
            order = broker.submit(intent)
        except OrderRefused as error:
            report.refused[intent.client_order_id] = error.message
            ledger.set_state(intent.client_order_id, "refused", now, error.message)
            ledger.event(now, "refused", intent.ticker, error.message)
        except OutcomeUnknown as error:
            report.unknown[intent.client_order_id] = error.message
            ledger.set_state(intent.client_order_id, "unknown", now, error.message)
            ledger.event(now, "unknown", intent.ticker, error.message)
        except BrokerUnreachable as error:  # for this one it was asked and not answered: it may have been taken
            report.unknown[intent.client_order_id] = error.message
            ledger.set_state(intent.client_order_id, "unknown", now, error.message)
            return _ended_with(report, "stopped", f"the broker went away: {error.message}")
        else:
            ledger.record_orders([order], now)
            report.sent.append(intent.client_order_id)
    _look_again(broker, ledger, now, window, report)
    return None


def _look_again(broker: Broker, ledger: Ledger, now: datetime, window: Window, report: PassReport) -> None:
    """What the broker has must be what was meant; an order of unknown fate may turn up."""
    try:
        orders = broker.orders_since(ledger.horizon()) if report.sent or report.unknown else []
    except BrokerUnreachable as error:
        _ended_with(report, "stopped", f"the broker went away after the orders: {error.message}")
        orders = []
    ledger.record_orders(orders, now)
    for name in report.unknown.keys() & {order.client_order_id for order in orders}:
        del report.unknown[name]
        report.sent.append(name)
    report.alerts += [f"refused: {name}: {why}" for name, why in report.refused.items()]
    report.alerts += [f"unknown: {name}: {why}" for name, why in report.unknown.items()]
    report.text = report.text or _summary(report, window)


def _summary(report: PassReport, window: Window) -> str:
    parts = [f"{len(report.sent)} orders sent for {window.target}"]
    parts += [f"{len(report.refused)} refused"] if report.refused else []
    parts += [f"{len(report.unknown)} unknown"] if report.unknown else []
    parts += [f"{len(report.blocked)} tickers blocked"] if report.blocked else []
    return ", ".join(parts)


def _ended_with(report: PassReport, outcome: str, text: str) -> None:
    _ended(report, outcome, text)
    if outcome != "waiting":
        report.alerts.append(text)


def _ended(report: PassReport, outcome: str, text: str) -> PassReport:
    report.outcome, report.text = outcome, text
    return report
