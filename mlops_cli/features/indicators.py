"""The formulas of the input columns: one function per kind of column, over the bars of one ticker.

Every function returns a float64 array with one value per bar. Value t uses only bars <= t, and is NaN if the window
begins before the first bar. Windows count bars, that is, sessions in which the stock traded; so after a trading halt
they cover more calendar time.

Every column is a pure number (a ratio, a log ratio, a count) that does not change when all prices are multiplied by a
constant, so a later split does not change past values. `close_price` is the only exception.

Recursive indicators (RSI, MACD) come from TA-Lib. Windows come from pandas, whose compensated rolling sums stay exact
even after a price fell by many orders of magnitude. The rest is arithmetic on numpy arrays, because with
pandas columns five hundred tickers took four times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import talib

from mlops_cli.config.schemas.project import Macd

type Values = npt.NDArray[np.float64]
type Formula = Callable[[Bars], Values]


@dataclass(frozen=True)
class Bars:
    """The bars of one ticker, oldest first; all arrays of one length, prices > 0, volume >= 0.

    Attributes:
        sessions: day of each bar, tz-naive, rising.
        next_sessions: the exchange's next session after each bar.
        returns: one-day log return of close; NaN for the first bar.
    """

    sessions: pd.DatetimeIndex
    next_sessions: pd.DatetimeIndex
    open: Values
    high: Values
    low: Values
    close: Values
    volume: Values
    returns: Values


def lagged(values: Values, bars: int) -> Values:
    """The values shifted by `bars` places towards later bars; the first places are NaN."""
    return np.concatenate((np.full(bars, np.nan), values))[: len(values)]


def log_return(close: Values, sessions: int) -> Values:
    """Natural log of the close over the close `sessions` bars ago."""
    return np.log(close / lagged(close, sessions))


def period_return(bars: Bars, sessions: int) -> Values:
    """Log return of close over the last `sessions` bars."""
    return log_return(bars.close, sessions)


def past_return(bars: Bars, age: int) -> Values:
    """The one-day log return of `age` bars ago; age 0 is the bar's own."""
    return lagged(bars.returns, age)


def range_high_low(bars: Bars) -> Values:
    """Log of high over low: the width of the day's range."""
    return np.log(bars.high / bars.low)


def range_open_close(bars: Bars) -> Values:
    """Log of close over open: the move during the session."""
    return np.log(bars.close / bars.open)


def close_position(bars: Bars) -> Values:
    """Place of the close in the day's range: 0 at the low, 1 at the high.

    A day without a range (high = low) gets 0.5.
    """
    width = bars.high - bars.low
    return np.divide(bars.close - bars.low, width, out=np.full_like(width, 0.5), where=width > 0)


def sma_ratio(bars: Bars, sessions: int) -> Values:
    """Close over its simple moving average of the last `sessions` bars (this bar included), minus 1."""
    return bars.close / _rolling_mean(bars.close, sessions) - 1


def rsi(bars: Bars, sessions: int) -> Values:
    """Relative strength index with Wilder's smoothing (Wilder 1978), 0 to 100; 50 as long as the price has never moved.

    Computed as 50 + CMO / 2. TA-Lib's Chande momentum oscillator is 100 (up - down) / (up + down) over the same
    Wilder averages as its RSI, 100 up / (up + down), so the two are equal once the price has moved. Before that, both
    are 0, which means "neither up nor down" for CMO, but "only losses" for RSI.
    """
    oscillator: Values = talib.CMO(bars.close, timeperiod=sessions)
    return 50 + oscillator / 2


def macd(bars: Bars, spans: Macd, line: int) -> Values:
    """A line of the moving average convergence/divergence (Appel), as a share of the bar's close.

    The exponential averages have alpha = 2 / (span + 1). Line 0 is the fast minus the slow average, 1 its signal
    average, 2 the histogram, 0 minus 1.
    """
    lines: tuple[Values, ...] = talib.MACD(bars.close, spans.fast, spans.slow, spans.signal)
    return lines[line] / bars.close


def volatility(bars: Bars, sessions: int) -> Values:
    """Sample standard deviation (n - 1) of the last `sessions` one-day log returns, per day, not annualised.

    After a twentyfold jump has left the window, a rounding error of up to 1e-7 remains (an ordinary stock has 1e-2), so
    the value of a window without any move may differ from 0.
    """
    return pd.Series(bars.returns).rolling(sessions).std().to_numpy()


def volume_ratio(bars: Bars, sessions: int) -> Values:
    """Log of the bar's volume over the mean volume of the `sessions` bars before it.

    One share is added to both, so that days and windows without any trade are finite (0 over 0 gives 0). Real volumes
    are so large that this hardly changes them.
    """
    usual = lagged(_rolling_mean(bars.volume, sessions), 1)
    return np.log((1 + bars.volume) / (1 + usual))


def day_of_week(bars: Bars) -> Values:
    """0 on Monday to 4 on Friday."""
    return bars.sessions.day_of_week.to_numpy(np.float64)


def month(bars: Bars) -> Values:
    """1 in January to 12 in December."""
    return bars.sessions.month.to_numpy(np.float64)


def days_to_next_session(bars: Bars) -> Values:
    """Calendar days to the exchange's next session: 1 on an ordinary day, 3 before an ordinary weekend.

    Exchanges publish their sessions years ahead, so this uses no knowledge of the future. The exception is an
    unforeseen closure (2001-09-11): the calendar includes it in hindsight, so the day before shows the longer gap.
    """
    return (bars.next_sessions - bars.sessions).days.to_numpy(np.float64)


def close_price(bars: Bars) -> Values:
    """The close itself, in the price's currency, split-adjusted as of the download."""
    return bars.close


def _rolling_mean(values: Values, sessions: int) -> Values:
    return pd.Series(values).rolling(sessions).mean().to_numpy()
