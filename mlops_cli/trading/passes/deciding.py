"""The decision step of a pass: whether one is due, on which forecasts, and which prices the broker contradicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from mlops_cli.market.hours import NEW_YORK
from mlops_cli.trading.contract.broker import Bar, Quote
from mlops_cli.trading.contract.types import DecisionContext, Holding, TradeForecast
from mlops_cli.trading.decide.policy import decide
from mlops_cli.trading.decide.stocks import PRICE_GAP
from mlops_cli.trading.passes.liquidate import tickers_in_liquidation
from mlops_cli.trading.passes.order_window import PRICES_UNTIL, Window, new_york
from mlops_cli.trading.passes.pass_report import PassContext
from mlops_cli.trading.passes.reconcile import Reconciled

LARGEST_GAP = Decimal(str(PRICE_GAP))
LARGEST_DIFFERENCE = Decimal("0.05")
"""Largest relative difference of two closes of one session: feeds differ by cents, a split or a bad price by more."""


@dataclass(frozen=True)
class SessionForecasts:
    """What is forecast for one session.

    Attributes:
        volatilities: by ticker, standard deviation of one-day log returns.
        missing: by model, why there is no forecast and will be none.
        late: by model, why there is none yet; there may be one in a later pass, when the session's prices are known.
        notes: what else a person should know of them, such as dividends that could not be looked up.
    """

    forecasts: Sequence[TradeForecast]
    volatilities: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    late: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


ForecastsOf = Callable[[date, date], SessionForecasts]
"""Called with two sessions: returns forecasts for the second, based on the close of the first. Only if due."""


def decide_session(context: PassContext, state: Reconciled, forecasts: ForecastsOf) -> str:
    """Decide on the next session and write the decisions, unless they exist or must wait.

    Returns:
        Why the pass must end without sending anything; empty to go on. A dry run goes on in any case.
    """
    window = context.window
    if context.ledger.decided(window.target):
        return ""
    given = forecasts(window.session, window.target)
    reason = _reason_to_wait(context, given)
    if reason and not context.settings.dry_run:
        return reason
    _decide(context, state, given)
    return ""


def _reason_to_wait(context: PassContext, given: SessionForecasts) -> str:
    """Why nothing is decided now; empty to go on. A session is decided only once, so late prices are waited for."""
    report, window = context.report, context.window
    until = datetime.combine(window.session, PRICES_UNTIL, NEW_YORK)
    report.missing = {**given.missing, **given.late}
    if given.late and context.now < until:
        waiting = f"{len(given.late)} models wait for prices of {window.session}"
        return f"{waiting}; from {new_york(until)} on, stocks are decided without the missing forecasts"
    if report.missing and not given.forecasts:
        text = f"no model has a forecast for {window.target}: nothing is decided"
        report.needs_attention.append(text)
        if context.ledger.tell_once(context.now, "no forecast", text):
            report.alerts.append(text)
        return text
    if report.missing:
        report.alerts.append(f"decided without a forecast of {', '.join(sorted(report.missing))}")
    return ""


def _decide(context: PassContext, state: Reconciled, given: SessionForecasts) -> None:
    report, ledger, window = context.report, context.ledger, context.window
    for_this_session, report.missing = _for_this_session(given, window)
    prices = {holding.ticker: holding.last_price for holding in state.holdings.values()}
    prices |= {forecast.ticker: forecast.last_close for forecast in for_this_session}
    bars = context.broker.bars(sorted({forecast.ticker for forecast in for_this_session}), window.session)
    blocked = {
        **differing_closes(bars, for_this_session),
        **gaps(context.broker.quotes(sorted(prices)), prices, state.holdings),
        **dict.fromkeys(tickers_in_liquidation(ledger), "its position is being liquidated"),
        **state.blocked,
    }
    decision_context = DecisionContext(window.target, given.volatilities, ledger.sent_notional(window.target), blocked)
    report.decisions = decide(for_this_session, state.account, state.holdings, prices, context.rules, decision_context)
    ledger.write_decisions(window.target, report.decisions, context.now)
    report.blocked = blocked
    report.alerts += [f"{ticker}: {reason}" for ticker, reason in blocked.items() if ticker not in state.blocked]
    report.notes += [
        *given.notes,
        *(
            f"{decision.ticker} is held: {'; '.join(decision.reasons)}"
            for decision in report.decisions
            if decision.forecast_bps is None and decision.ticker in state.holdings
        ),
    ]


def _for_this_session(given: SessionForecasts, window: Window) -> tuple[list[TradeForecast], dict[str, str]]:
    """The forecasts for the window's target, and by model why there is none."""
    for_this_session, missing = [], {**given.missing, **given.late}
    for forecast in given.forecasts:
        if (forecast.session, forecast.target_session) == (window.session, window.target):
            for_this_session.append(forecast)
        else:
            missing[forecast.model] = f"its forecast is for {forecast.target_session}, made on {forecast.session}"
    return for_this_session, missing


def differing_closes(bars: Mapping[str, Bar], forecasts: Sequence[TradeForecast]) -> dict[str, str]:
    """Tickers whose forecast is based on a close that differs from the broker's bar, each with a message about it."""
    others = {}
    for forecast in forecasts:
        ours = forecast.last_close
        theirs = bars[forecast.ticker].close if forecast.ticker in bars else ours
        if abs(theirs - ours) > LARGEST_DIFFERENCE * max(theirs, ours):
            others[forecast.ticker] = (
                f"its close of {forecast.session} is {theirs:.2f} at the broker and {ours:.2f} here: "
                "a split that one side does not know of, or bad data"
            )
    return others


def gaps(quotes: Mapping[str, Quote], prices: Mapping[str, Decimal], holdings: Mapping[str, Holding]) -> dict[str, str]:
    """Tickers whose last close (`prices`) is far from the broker's quote, or whose price is 0 or less, and why."""
    far_off = {}
    for ticker, quote in ((name, quotes[name]) for name in prices if name in quotes):
        middle, close = quote.middle, prices[ticker]
        # bid and ask are compared, not their middle: in the evening quotes are often too wide for it to mean anything
        if middle is not None and (quote.bid > close * (1 + LARGEST_GAP) or quote.ask < close * (1 - LARGEST_GAP)):
            far_off[ticker] = (
                f"the broker quotes {middle:.2f}, the last close known here is {close:.2f}: a split, or bad data"
            )
    for ticker, holding in holdings.items():
        if ticker in prices and prices[ticker] <= 0:
            far_off[ticker] = f"its price is {holding.last_price}"
    return far_off
