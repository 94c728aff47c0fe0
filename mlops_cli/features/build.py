"""The feature table: the inputs of a model for each session, and the close of the next session.

Returns are log returns of `close`, not of `adj_close`, because the forecast is of the close that will be quoted
tomorrow, and errors are measured in that close. `close` is split-adjusted, so a split is not a return. It is not
dividend-adjusted, so the return of an ex-dividend day includes the drop of the quote. `adj_close` is
not used: every dividend changes all its earlier values, so its returns differ.

Where dividends are given, the target is the *total* return: the next close plus the dividend of that session. What a
dividend takes from the quote is known before, so a model need not learn it: the announced dividend of the next session
is an input of the graph, which subtracts it (`models.base`). The widths of prediction intervals are inputs of the graph
too (`features.intervals`), so that whoever runs the graph gets the interval with the forecast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mlops_cli.config.schemas.project import FeatureSpec, Macd, Target
from mlops_cli.errors import ConfigError, DataError, bounded
from mlops_cli.features import indicators as ind
from mlops_cli.features.column_names import ANNOUNCED, width_columns
from mlops_cli.features.extras import NO_EXTRAS, Extras, bar_errors, interval_widths, next_dividends
from mlops_cli.features.indicators import Bars, log_return
from mlops_cli.prices.actions.dividends import Sighting

REMAINING_START_SHARE = 1e-6
"""How much of the arbitrary starting value of an exponential average may remain in the first row, as a fraction.

TA-Lib starts its exponential averages from the first bars that it gets. 1e-6 costs about 200 rows at the start of the
history. In return, the start of the history changes the features by less than a model can notice.
"""


@dataclass(frozen=True)
class Feature:
    """One input column.

    Attributes:
        warm_up: number of bars before the first one whose value is defined and no longer depends on the start.
        formula: computes one value per bar; see `indicators`.
    """

    warm_up: int
    formula: ind.Formula


_RANGES = {
    "range_high_low": Feature(0, ind.range_high_low),
    "range_open_close": Feature(0, ind.range_open_close),
    "close_position": Feature(0, ind.close_position),
}
_CALENDAR = {
    "day_of_week": Feature(0, ind.day_of_week),
    "month": Feature(0, ind.month),
    "days_to_next_session": Feature(0, ind.days_to_next_session),
}
_MACD_LINES = ("macd", "macd_signal", "macd_histogram")


def input_features(spec: FeatureSpec, target: Target) -> dict[str, Feature]:
    """The input columns of a feature set, in order, without repeats; a `ConfigError` for a meaningless window of 1."""
    _check_windows(spec)
    return {
        **{f"return_{n}": Feature(n, partial(ind.period_return, sessions=n)) for n in spec.returns},
        **(_RANGES if spec.ranges else {}),
        **{f"sma_ratio_{n}": Feature(n - 1, partial(ind.sma_ratio, sessions=n)) for n in spec.moving_averages},
        **{f"rsi_{n}": Feature(n + _settling(1 / n), partial(ind.rsi, sessions=n)) for n in spec.rsi},
        **(_macd(spec.macd) if spec.macd else {}),
        **{f"volatility_{n}": Feature(n, partial(ind.volatility, sessions=n)) for n in spec.volatility},
        **{f"volume_ratio_{n}": Feature(n, partial(ind.volume_ratio, sessions=n)) for n in spec.volume},
        **{name: _CALENDAR[name] for name in spec.calendar},
        **({"close": Feature(0, ind.close_price)} if target == "close" else {}),
        **_history(spec),
    }


def history_columns(spec: FeatureSpec) -> tuple[str, ...]:
    """Names of the last `spec.history` one-day log returns, oldest first; the last one is the row's own return.

    The numbers have leading zeros (at least two digits), so that sorting the names keeps their order.
    """
    width = max(2, len(str(spec.history - 1)))
    return tuple(f"history_{i:0{width}d}" for i in range(spec.history))


def _macd(spans: Macd) -> dict[str, Feature]:
    # TA-Lib's look-back, plus the time until the slowest average no longer depends on its start
    settling = _settling(2 / (max(spans.slow, spans.signal) + 1))
    warm_up = spans.slow + spans.signal - 2 + settling
    return {name: Feature(warm_up, partial(ind.macd, spans=spans, line=line)) for line, name in enumerate(_MACD_LINES)}


def _history(spec: FeatureSpec) -> dict[str, Feature]:
    ages = reversed(range(spec.history))
    return {
        name: Feature(age + 1, partial(ind.past_return, age=age))
        for name, age in zip(history_columns(spec), ages, strict=True)
    }


def _settling(alpha: float) -> int:
    """Bars until an exponential average with this alpha contains only `REMAINING_START_SHARE` of its starting value."""
    return math.ceil(math.log(REMAINING_START_SHARE) / math.log1p(-alpha))


def _check_windows(spec: FeatureSpec) -> None:
    with_one = [key for key in ("moving_averages", "rsi", "volatility") if 1 in getattr(spec, key)]
    if with_one:
        raise ConfigError(
            "; ".join(f"features.{key}: expected windows of 2 sessions or more, was 1" for key in with_one),
            "remove the 1; for the one-day return write returns: [1]",
        )


__all__ = [
    "ANNOUNCED",
    "Extras",
    "build_features",
    "history_columns",
    "input_columns",
    "interval_errors",
    "sessions_needed",
]


def input_columns(spec: FeatureSpec, target: Target) -> tuple[str, ...]:
    """Names of a feature set's input columns, in the order of the feature table; the history columns are last.

    With target `close` there is a column `close`, because a model needs the current price to forecast the next one.

    Raises:
        ConfigError: a window of 1 where it has no meaning.
    """
    return tuple(input_features(spec, target))


def sessions_needed(spec: FeatureSpec) -> int:
    """How many sessions of prices give one row of features: the longest warm-up plus the row itself.

    With that many sessions the last row equals the last row of a longer history. Windows are equal up to rounding; RSI
    and MACD, whose averages never lose their start completely, are equal up to about `REMAINING_START_SHARE` of their
    size.

    Raises:
        ConfigError: a window of 1 where it has no meaning.
    """
    return _longest(input_features(spec, "log_return"))[1] + 1


def build_features(
    prices: pd.DataFrame,
    spec: FeatureSpec,
    target: Target,
    exchange_sessions: pd.DatetimeIndex,
    ticker: str,
    extras: Extras = NO_EXTRAS,
) -> pd.DataFrame:
    """Compute the features and the target of one ticker.

    Row t of the input columns depends only on prices of sessions <= t, and on the exchange's calendar up to the session
    after t. If later prices are removed or changed, it stays bit-identical.

    Args:
        prices: the checked price table: index of tz-naive sessions, unique and rising; `open high low close volume`
            float64, finite, prices > 0, volume >= 0.
        spec: the feature set.
        target: `log_return` (log of next close over close) or `close` (the next close).
        exchange_sessions: the exchange's sessions, rising, from the day of the first price or earlier to at least one
            session after the last price's.
        ticker: for messages.
        extras: what the graph needs beside the inputs of the network.

    Returns:
        Index `session`: the sessions of the prices without the warm-up at the start. Columns, in order:
        `input_columns` and `extras.columns` (float64, finite, never NaN), `target` (float64), then for reports
        `last_close`, `next_close` (float64) and `target_session` (datetime64 in the index's unit), the exchange's next
        session. With dividends, `target` is of total return, and `paid_dividend` (float64, price units) is what the
        target session paid, whenever that became known. If the ticker has no price in that next session (in the last
        row, or in the row before a halt), `target` and `next_close` are NaN, because a forecast is for the very next
        session only. The row has features, so that a forecast can be made.

    Raises:
        ConfigError: a window of 1 where it has no meaning.
        DataError: too few sessions for the longest warm-up, a calendar that does not cover the prices, or invalid
            prices, so that a feature is not finite.
    """
    features = input_features(spec, target)
    warm_up = _warm_up(len(prices), features, ticker)
    bars = _bars(prices, exchange_sessions, ticker)
    values = np.array([feature.formula(bars) for feature in features.values()])[:, warm_up:]
    table = pd.DataFrame(values.T, index=bars.sessions[warm_up:], columns=list(features))
    _all_finite(table, ticker)

    next_close = np.append(bars.close[1:], np.nan)
    next_close[:-1][bars.sessions[1:] != bars.next_sessions[:-1]] = np.nan
    announced, paid = next_dividends(bars, extras)
    if extras.dividends is not None:
        table[ANNOUNCED] = announced[warm_up:]
    table[list(width_columns(extras.levels))] = interval_widths(bars, announced, extras)[warm_up:]
    outcome = next_close + paid if target == "close" else np.log((next_close + paid) / bars.close)
    table = table.assign(
        target=outcome[warm_up:],
        last_close=bars.close[warm_up:],
        next_close=next_close[warm_up:],
        target_session=bars.next_sessions[warm_up:],
    )
    return table if extras.dividends is None else table.assign(paid_dividend=paid[warm_up:])


def interval_errors(
    prices: pd.DataFrame,
    exchange_sessions: pd.DatetimeIndex,
    ticker: str,
    dividends: Sequence[Sighting] | None = None,
) -> pd.Series[float]:
    """The errors of one ticker for `intervals.fleet_quantiles`, by session; for the arguments see `build_features`."""
    bars = _bars(prices, exchange_sessions, ticker)
    announced, _ = next_dividends(bars, Extras(dividends))
    return pd.Series(bar_errors(bars, announced).errors, index=bars.sessions)


def _bars(prices: pd.DataFrame, exchange_sessions: pd.DatetimeIndex, ticker: str) -> Bars:
    sessions = pd.DatetimeIndex(prices.index, name="session")
    open_, high, low, close, volume = (
        prices[name].to_numpy(np.float64) for name in ("open", "high", "low", "close", "volume")
    )
    return Bars(
        sessions=sessions,
        next_sessions=_next_sessions(sessions, exchange_sessions, ticker),
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        returns=log_return(close, 1),
    )


def _longest(features: dict[str, Feature]) -> tuple[str, int]:
    name = max(features, key=lambda name: features[name].warm_up)
    return name, features[name].warm_up


def _warm_up(sessions: int, features: dict[str, Feature], ticker: str) -> int:
    name, warm_up = _longest(features)
    if sessions <= warm_up:
        raise DataError(
            f"{ticker}: has {sessions} sessions, its features need at least {warm_up + 1} (the longest: {name})",
            "fetch a longer history (params.yaml: period.start), or give the model a feature set with shorter windows",
        )
    return warm_up


def _next_sessions(sessions: pd.DatetimeIndex, exchange_sessions: pd.DatetimeIndex, ticker: str) -> pd.DatetimeIndex:
    first, last = sessions[0], sessions[-1]
    if not (len(exchange_sessions) and exchange_sessions[0] <= first and last < exchange_sessions[-1]):
        covered = f"{exchange_sessions[0]:%F} to {exchange_sessions[-1]:%F}" if len(exchange_sessions) else "no session"
        raise DataError(
            f"{ticker}: prices from {first:%F} to {last:%F}, but the exchange's calendar has {covered}",
            "the calendar must begin with the prices or earlier and end after them; check exchange: in the config",
        )
    following = exchange_sessions[exchange_sessions.searchsorted(sessions, side="right")]
    return following.as_unit(sessions.unit)


def _all_finite(inputs: pd.DataFrame, ticker: str) -> None:
    not_finite = np.argwhere(~np.isfinite(inputs.to_numpy()))
    if len(not_finite):
        cells = [f"{inputs.index[row]:%F} {inputs.columns[column]}" for row, column in not_finite]
        raise DataError(
            f"{ticker}: {len(cells)} feature values are not finite: {bounded(cells)}",
            "the prices of those days are invalid; fetch them again: mlops ingest",
        )
