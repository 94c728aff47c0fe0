"""From the forecasts of a team's models to one signal per stock."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from operator import attrgetter

from mlops_cli.errors import DataError
from mlops_cli.trading.contract.types import Interval, Rules, TradeForecast

SKILL = "skill"
VERSION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Signal:
    """The joint forecast of a team's models for one stock.

    All means are weighted, and over the models that may trade.

    Attributes:
        forecast_bps: mean of their log returns of the price, in basis points; None if none of them may trade.
        total_bps: mean of their expected total returns, which decisions rest on; equal to `forecast_bps` unless a
            dividend is announced.
        dividend: announced for the session, in dollars per share: the largest that one of them subtracts.
        intervals: means of their bounds, of the levels that each of them has that has any.
        model: their names, joined by `+`; of those that may trade.
        version: of the model, or one hash of several and their weights.
        models: every model: name, forecast in basis points, version, verdict.
    """

    forecast_bps: float | None
    total_bps: float | None
    dividend: float
    intervals: tuple[Interval, ...]
    model: str
    version: str
    last_close: Decimal
    models: tuple[tuple[str, float, str, str | None], ...]
    notes: tuple[str, ...]


def combine(forecasts: Sequence[TradeForecast], rules: Rules) -> dict[str, Signal]:
    """Join the forecasts by ticker.

    Returns:
        A signal per ticker, tickers sorted; the same for any order of the forecasts.

    Raises:
        DataError: models of one ticker start from different closes or sessions.
    """
    by_ticker: dict[str, list[TradeForecast]] = defaultdict(list)
    for forecast in sorted(forecasts, key=lambda each: (each.ticker, each.model)):
        by_ticker[forecast.ticker].append(forecast)
    return {ticker: _signal(ticker, its_forecasts, rules) for ticker, its_forecasts in by_ticker.items()}


def _signal(ticker: str, forecasts: list[TradeForecast], rules: Rules) -> Signal:
    _check_starts(ticker, forecasts)
    notes = {forecast.model: reason for forecast in forecasts if (reason := reason_against(forecast, rules))}
    trading = [forecast for forecast in forecasts if forecast.model not in notes]
    weights = [rules.weights.get(forecast.model, 1.0) for forecast in trading]
    models = [(forecast.model, 1e4 * forecast.log_return, forecast.version, forecast.verdict) for forecast in forecasts]
    return Signal(
        forecast_bps=_mean_bps(trading, weights, attrgetter("log_return")),
        total_bps=_mean_bps(trading, weights, attrgetter("total_log_return")),
        dividend=max((forecast.dividend for forecast in trading), default=0.0),
        intervals=_joint_intervals(trading, weights),
        model="+".join(forecast.model for forecast in trading),
        version=_version(trading, weights),
        last_close=forecasts[0].last_close,
        models=tuple(models),
        notes=tuple(f"{name}: {reason}" for name, reason in notes.items()),
    )


def _check_starts(ticker: str, forecasts: list[TradeForecast]) -> None:
    if len({(forecast.last_close, forecast.session, forecast.team) for forecast in forecasts}) > 1:
        names = ", ".join(forecast.model for forecast in forecasts)
        raise DataError(f"{ticker}: {names} forecast from different closes, sessions or teams", "run: mlops run")


def _mean_bps(
    forecasts: Sequence[TradeForecast], weights: Sequence[float], log_return: Callable[[TradeForecast], float]
) -> float | None:
    return 1e4 * _mean([log_return(forecast) for forecast in forecasts], weights) if forecasts else None


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)


def _joint_intervals(forecasts: Sequence[TradeForecast], weights: Sequence[float]) -> tuple[Interval, ...]:
    having = [(forecast.intervals, w) for forecast, w in zip(forecasts, weights, strict=True) if forecast.intervals]
    if not having:
        return ()
    by_level = [{interval.level: interval for interval in intervals} for intervals, _ in having]
    its_weights = [w for _, w in having]
    return tuple(
        Interval(
            level,
            _mean([intervals[level].lower for intervals in by_level], its_weights),
            _mean([intervals[level].upper for intervals in by_level], its_weights),
        )
        for level in sorted(set.intersection(*map(set, by_level)))
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
    text = "\n".join(f"{forecast.model} {forecast.version} {w}" for forecast, w in zip(forecasts, weights, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_LENGTH]
