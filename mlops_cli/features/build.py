"""The feature table: what a model sees on a session, and what the close did on the next one.

Why log returns of `close`, not of `adj_close`: the forecast is of the close that will be quoted tomorrow, and errors
are reported in it. `close` is split-adjusted, so a split is no return; it is not dividend-adjusted, so on an
ex-dividend day the return holds the drop that the quote shows. `adj_close` is rewritten back to its first day by
every later dividend, and its returns are not those of the price anybody sees. Features and target use the same
series, so that a model's "yesterday" and its "tomorrow" are in the same units.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_cli.config.schemas.project import FeatureSpec, Target
from mlops_cli.errors import DataError, bounded
from mlops_cli.features.columns import Feature, history_columns, input_features
from mlops_cli.features.indicators import Bars, log_return

__all__ = ["build_features", "history_columns", "input_columns", "sessions_needed"]


def input_columns(spec: FeatureSpec, target: Target) -> tuple[str, ...]:
    """Names of a feature set's input columns, in the order of the feature table; history stands last.

    With target `close` there is a column `close`: a model cannot predict a price whose level it has not seen.

    Raises:
        ConfigError: a window of 1 where that means nothing.
    """
    return tuple(input_features(spec, target))


def sessions_needed(spec: FeatureSpec) -> int:
    """Sessions of prices that give one row of features: the longest warm-up and the row itself.

    The last row of that many sessions equals the last row of a longer history: to rounding for windows, to about
    `columns.SETTLED` of their size for RSI and MACD, which never quite forget their start.

    Raises:
        ConfigError: a window of 1 where that means nothing.
    """
    return _longest(input_features(spec, "log_return"))[1] + 1


def build_features(
    prices: pd.DataFrame, spec: FeatureSpec, target: Target, exchange_sessions: pd.DatetimeIndex, ticker: str
) -> pd.DataFrame:
    """Compute features and target of one ticker.

    Row t of the input columns depends on prices of sessions <= t, and on the exchange's calendar up to the session
    after t; nothing else. Cutting off or changing later prices leaves it bit-identical.

    Args:
        prices: the checked price table: index of tz-naive sessions, unique and rising; `open high low close volume`
            float64, finite, prices > 0, volume >= 0.
        spec: the feature set.
        target: `log_return` (log of next close over close) or `close` (the next close).
        exchange_sessions: the exchange's sessions, rising, from the first price's day or earlier to at least one
            session after the last price's.
        ticker: for messages.

    Returns:
        Index `session`: the prices' sessions less the warm-up at the start. Columns, in order: `input_columns`
        (float64, finite, never NaN), `target` (float64), then for reports `last_close`, `next_close` (float64) and
        `target_session` (datetime64 in the index's unit), the exchange's next session. Where the ticker has no price
        on that next session (the last row, or the row before a halt) `target` and `next_close` are NaN: a forecast is
        for the next session, and a return over a gap is none. The features stand, so that a forecast can be made.

    Raises:
        ConfigError: a window of 1 where that means nothing.
        DataError: too few sessions for the longest warm-up, a calendar that does not cover the prices, or prices
            that break the contract above, so that a feature is not finite.
    """
    features = input_features(spec, target)
    warm_up = _warm_up(len(prices), features, ticker)
    bars = _bars(prices, exchange_sessions, ticker)
    values = np.array([feature.formula(bars) for feature in features.values()])[:, warm_up:]
    table = pd.DataFrame(values.T, index=bars.sessions[warm_up:], columns=list(features))
    _all_finite(table, ticker)

    next_close = np.append(bars.close[1:], np.nan)
    next_close[:-1][bars.sessions[1:] != bars.next_sessions[:-1]] = np.nan
    outcome = next_close if target == "close" else np.log(next_close / bars.close)
    return table.assign(
        target=outcome[warm_up:],
        last_close=bars.close[warm_up:],
        next_close=next_close[warm_up:],
        target_session=bars.next_sessions[warm_up:],
    )


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
        known = f"{exchange_sessions[0]:%F} to {exchange_sessions[-1]:%F}" if len(exchange_sessions) else "no session"
        raise DataError(
            f"{ticker}: prices from {first:%F} to {last:%F}, but the exchange's calendar has {known}",
            "the calendar must start with the prices or before and end after them; check exchange: in the config",
        )
    following = exchange_sessions[exchange_sessions.searchsorted(sessions, side="right")]
    return following.as_unit(sessions.unit)


def _all_finite(inputs: pd.DataFrame, ticker: str) -> None:
    broken = np.argwhere(~np.isfinite(inputs.to_numpy()))
    if len(broken):
        cells = [f"{inputs.index[row]:%F} {inputs.columns[column]}" for row, column in broken]
        raise DataError(
            f"{ticker}: {len(cells)} feature values are not finite: {bounded(cells)}",
            "the prices break the price table's contract there; ingest them again: mlops ingest",
        )
