"""The guards of `mlops ingest` for bars that a caller sends: a fault is refused, and nothing is repaired.

A server must not repair silently: the caller would get a forecast from other prices than the ones it sent. So every
fault that a cleaning rule would repair, drop or refuse is an error here that names the days.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.prices.cleaning.bar_rules import SAME
from mlops_cli.prices.cleaning.repair import OHLC, Repair
from mlops_cli.prices.cleaning.rules import clean

FAULTS = {
    "out_of_order": "{bars} not in the order of the dates",
    "outside_calendar": "{bars} on days that the exchange's calendar does not cover",
    "non_sessions": "{bars} on days without a session of the exchange",
    "nulls": "{bars} without a price",
    "non_positive": "{bars} with a price that is zero, negative or infinite",
    "missing_open": "{bars} with an open that is missing or zero",
    "missing_range": "{bars} with a high or low that is missing or zero",
    "bad_volume": "{bars} with a volume that is missing, negative or infinite",
    "duplicates": "{bars} sent twice",
    "unit_100x": "{bars} in another unit than the others, by a factor of 100",
    "swapped_high_low": "{bars} with the high below the low",
    "widened_range": "{bars} with open or close outside of low to high",
    "inconsistent_bar": "{bars} with the high below the low, or open or close outside of low to high",
    "unadjusted_split": "prices that are not adjusted for a split",
    "missing_sessions": "no bars for {count} sessions between the first and the last bar",
}
"""What is wrong with bars that a cleaning rule would change. The rules for adjusted closes are not among them, because
no feature uses adjusted closes."""

HINT = (
    "correct the bars and send them again: split-adjusted, in one unit, one bar per session; "
    "a session without trades is a bar of the close before with volume 0"
)
REAL_MOVE = (
    "correct the bars and send them again. If the move is real, send bars from that day on only, or upload a file "
    "with 1 in a column `Stock Splits` on that day"
)


def refuse_faults(
    bars: pd.DataFrame, ticker: str, sessions: pd.DatetimeIndex, last_session: pd.Timestamp | None = None
) -> None:
    """Refuse bars that `mlops ingest` would refuse or repair, and bars of sessions that have not closed.

    Differences of at most 0.1 % between open or close and the day's range are rounding and pass.

    Args:
        bars: index of dates (tz-naive), in order; columns `open high low close volume`, optionally `adj_close`,
            `stock_splits` and `dividends`. It is not changed.
        ticker: for messages.
        sessions: the exchange's sessions, tz-naive, rising, over at least the days of the bars.
        last_session: the newest session that has closed; None to accept any day.

    Raises:
        DataError: the message names ticker and days.
    """
    if last_session is not None and (late := bars.index[bars.index > last_session]).size:
        raise DataError(
            f"{ticker}: {_count(len(late))} of sessions that have not closed yet: {bounded(_days(late))} "
            f"(the last session that closed is {last_session.date()})",
            "leave these bars out; a forecast is made from finished sessions",
        )
    try:
        repairs = clean(_rounded_range(bars), ticker, sessions).repairs
    except DataError as error:
        real = "stock_splits" in error.hint.lower().replace(" ", "_")
        raise DataError(error.message, REAL_MOVE if real else HINT) from None
    faults = [_words(repair) for repair in repairs if repair.rule in FAULTS]
    if faults:
        raise DataError(f"{ticker}: {'; '.join(faults)}", HINT)


def _rounded_range(bars: pd.DataFrame) -> pd.DataFrame:
    """The bars with all columns that `clean` needs, and with ranges that rounding made too narrow widened."""
    whole = bars if "adj_close" in bars else bars.assign(adj_close=np.nan)
    opens, highs, lows, closes = whole[OHLC].to_numpy(np.float64).T
    top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
    return whole.assign(
        high=np.where((highs < top) & (top <= highs * (1 + SAME)), top, highs),
        low=np.where((lows > bottom) & (bottom >= lows * (1 - SAME)), bottom, lows),
    )


def _words(repair: Repair) -> str:
    fault = FAULTS[repair.rule].format(bars=_count(repair.count), count=repair.count)
    rest = repair.count - len(repair.examples)
    return f"{fault}: {', '.join(repair.examples)}" + (f" and {rest} more" if rest > 0 else "")


def _count(bars: int) -> str:
    return "1 bar" if bars == 1 else f"{bars} bars"


def _days(index: pd.Index) -> list[str]:
    return [str(day)[:10] for day in index]
