"""From the forecasts of a team's models to one signal per stock."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase

from mlops_cli.errors import DataError
from mlops_cli.trading.contract.types import Rules, TradeForecast

SKILL = "skill"
VERSION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Signal:
    """What a team's models say about a stock together.

    Attributes:
        forecast_bps: weighted mean of their log returns in basis points; None if none of them may trade.
        model: their names, joined by `+`; of those that may trade.
        version: of the model, or one hash of several and their weights.
        last_close: the close that they start from.
        models: every one of them: name, forecast in basis points, version, verdict.
        notes: why some of them do not trade.
    """

    forecast_bps: float | None
    model: str
    version: str
    last_close: Decimal
    models: tuple[tuple[str, float, str, str | None], ...]
    notes: tuple[str, ...]


def combine(forecasts: Sequence[TradeForecast], rules: Rules) -> dict[str, Signal]:
    """Join the forecasts by ticker.

    Args:
        forecasts: of one team and one target session, in any order.
        rules: which models trade, and their weights.

    Returns:
        A signal per ticker, tickers sorted; the same for any order of the forecasts.

    Raises:
        DataError: models of one ticker start from different closes or sessions.
    """
    by_ticker: dict[str, list[TradeForecast]] = defaultdict(list)
    for forecast in sorted(forecasts, key=lambda one: (one.ticker, one.model)):
        by_ticker[forecast.ticker].append(forecast)
    return {ticker: _signal(ticker, mine, rules) for ticker, mine in by_ticker.items()}


def _signal(ticker: str, forecasts: list[TradeForecast], rules: Rules) -> Signal:
    first = forecasts[0]
    if any(
        (one.last_close, one.session, one.team) != (first.last_close, first.session, first.team) for one in forecasts
    ):
        names = ", ".join(one.model for one in forecasts)
        raise DataError(f"{ticker}: {names} forecast from different closes, sessions or teams", "run: mlops run")
    notes = {one.model: reason for one in forecasts if (reason := reason_against(one, rules))}
    trading = [one for one in forecasts if one.model not in notes]
    weights = [rules.weights.get(one.model, 1.0) for one in trading]
    mean = sum(w * one.log_return for w, one in zip(weights, trading, strict=True)) / sum(weights) if trading else None
    return Signal(
        forecast_bps=None if mean is None else 1e4 * mean,
        model="+".join(one.model for one in trading),
        version=_version(trading, weights),
        last_close=first.last_close,
        models=tuple((one.model, 1e4 * one.log_return, one.version, one.verdict) for one in forecasts),
        notes=tuple(f"{name}: {reason}" for name, reason in notes.items()),
    )


def reason_against(forecast: TradeForecast, rules: Rules) -> str:
    """Why a model does not trade; empty where it does."""
    if not any(fnmatchcase(forecast.model, pattern) for pattern in rules.models):
        return "not among trading.models"
    if rules.weights.get(forecast.model, 1.0) == 0:
        return "its weight is 0"
    if forecast.verdict != SKILL and not rules.trade_without_skill:
        return f"{forecast.verdict or 'never judged (mlops evaluate does)'}, not traded"
    return ""


def _version(forecasts: list[TradeForecast], weights: list[float]) -> str:
    if len(forecasts) < 2:
        return forecasts[0].version if forecasts else ""
    text = "\n".join(f"{one.model} {one.version} {w}" for one, w in zip(forecasts, weights, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_LENGTH]
