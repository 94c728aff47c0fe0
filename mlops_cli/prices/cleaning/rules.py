"""The cleaning rules: they turn the raw bars of a ticker into bars that can be trusted, and list what they changed.

The rules use no files, no network and no clock. A rule repairs only what the data itself proves. Data with a fault
that cannot be repaired with proof is refused with a `DataError` that names ticker and day. The rules run in the order
of this table; each adds a `Repair` with its name and count:

| rule | what it does |
|---|---|
| `unfinished_sessions` | rows of sessions that have not closed (module `prices.table`): dropped; many are refused |
| `out_of_order` | rows dated before the row above them: sorted |
| `outside_calendar` | rows before or after the days that the calendar covers: dropped |
| `non_sessions` | rows on days without a session: dropped; refused where many traded (wrong exchange or dates) |
| `missing_open` | open is 0 or empty, the row has a close: the close of the row before, within the day's range |
| `missing_range` | high or low is 0 or empty, the row has a close: the higher or lower of open and close |
| `nulls` | the close (or another price that could not be filled) is missing: row dropped |
| `non_positive` | a price is negative or infinite, or the close is zero: row dropped |
| `bad_volume` | volume missing, negative or infinite: 0 |
| `missing_adj_close` | no adjusted close in the whole file: the close is used instead |
| `bad_adj_close` | adjusted close missing or not positive on some rows: close times the factor of the row before |
| `duplicates` | the same bar again, or an earlier state of it from during the session: dropped; others refused |
| `unit_100x` | quoted in cents instead of whole money or the reverse (module `units`) |
| `swapped_high_low` | high < low, and the other two prices lie between them: swapped |
| `widened_range` | open or close outside [low, high] by at most 5 %: the range is widened to include them |
| `inconsistent_bar` | high < low or open/close outside [low, high] by more: it is unknown which is wrong, row dropped |
| `unadjusted_split` | prices before a split not adjusted for it, with proof (module `splits`) |
| `dividend_adjustment` | adjusted close does not include a dividend that the data lists |
| `adj_close_unclear` | note: the adjusted close changes on a day without a listed dividend or split |
| `missing_sessions` | note: sessions between first and last row without a bar |

The data of a ticker is refused as a whole if it has weekly or monthly bars, two different bars for one session, unit
changes where the right unit is unclear, jumps that look like an unadjusted split but are not proved, a listed split of
which it is unclear whether the prices are adjusted, price changes that are too large for a stock, or prices that double
or halve over a month without bars.

The rules are in the modules beside this one: `calendar_rules`, `bar_rules`, `units`, `splits`, `dividends`, `unproved`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.prices.cleaning.bar_rules import (
    consistent_bars,
    drop_bad_prices,
    drop_duplicates,
    fill_adj_close,
    fill_prices,
    fill_volume,
)
from mlops_cli.prices.cleaning.calendar_rules import (
    in_order,
    missing_sessions,
    non_sessions,
    outside_calendar,
    refuse_sparse,
)
from mlops_cli.prices.cleaning.dividends import adjust_dividends
from mlops_cli.prices.cleaning.repair import ACTION_COLUMNS, PRICE_COLUMNS, Cleaned, Repair
from mlops_cli.prices.cleaning.splits import adjust_splits
from mlops_cli.prices.cleaning.units import fix_units, refuse_leaps
from mlops_cli.prices.cleaning.unproved import refuse_holes, refuse_unproved_splits

__all__ = ["PRICE_COLUMNS", "Repair", "clean"]

MANY_LEAPS = 2
"""From this number of leaps on, the cause is a misplaced decimal point or another instrument, not a split."""
MOST_CONFIRMED, CONFIRMED_SHARE = 5, 0.02
"""Up to this number or share of rows, 1 in the split column confirms a move; in more rows it means "no split"."""


def clean(
    frame: pd.DataFrame, ticker: str, sessions: pd.DatetimeIndex, checked_until: pd.Timestamp | None = None
) -> Cleaned:
    """Apply every rule of this module to one ticker's bars.

    The function is idempotent. The order of the rows and exact repeats do not matter. A clean table is not changed.

    Args:
        frame: index of dates (time of day and time zone are ignored), any order, repeats possible; columns
            `open high low close adj_close volume`, optionally `stock_splits` and `dividends`; nulls are NaN.
        ticker: for messages.
        sessions: the exchange's sessions, tz-naive, rising, over at least the days of the frame.
        checked_until: the last day of rows that were cleaned earlier. Their moves are accepted, because what confirmed
            them then (listed splits and dividends) is not stored.

    Returns:
        The bars (index `session`: tz-naive, unique, rising; float64; no NaN; prices > 0, volume >= 0; may be empty).

    Raises:
        DataError: a fault that cannot be repaired with proof; the message names ticker and day.
    """
    bars = _prepare(frame, ticker, checked_until)
    bars, all_repairs = in_order(bars)
    refuse_sparse(bars, ticker, sessions)
    for calendar_rule in (outside_calendar, non_sessions):
        bars, repairs = calendar_rule(bars, ticker, sessions)
        all_repairs += repairs
    for value_rule in (fill_prices, drop_bad_prices, fill_volume, fill_adj_close):
        bars, repairs = value_rule(bars)
        all_repairs += repairs
    for bar_rule in (drop_duplicates, fix_units, consistent_bars, adjust_splits, adjust_dividends):
        bars, repairs = bar_rule(bars, ticker)
        all_repairs += repairs
    refuse_leaps(bars, ticker, at_least=MANY_LEAPS)
    refuse_unproved_splits(bars, ticker)
    refuse_holes(bars, ticker)
    refuse_leaps(bars, ticker)
    return Cleaned(bars[list(PRICE_COLUMNS)], all_repairs + missing_sessions(bars, sessions))


def _prepare(frame: pd.DataFrame, ticker: str, checked_until: pd.Timestamp | None) -> pd.DataFrame:
    missing = [name for name in PRICE_COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(f"{ticker}: the bars have no column {', '.join(missing)}", "all six columns are needed")
    bars = frame.reindex(columns=[*PRICE_COLUMNS, *ACTION_COLUMNS]).astype("float64")
    days = pd.DatetimeIndex(frame.index)
    if days.hasnans:
        raise DataError(f"{ticker}: {np.count_nonzero(days.isna())} rows have no date", "give every row its date")
    naive = days if days.tz is None else days.tz_localize(None)
    bars.index = naive.normalize().as_unit("ns").rename("session")
    return _with_confirmed(bars, checked_until)


def _with_confirmed(bars: pd.DataFrame, checked_until: pd.Timestamp | None) -> pd.DataFrame:
    """The bars with a column `confirmed`: whether a row's move is real; 1 in `stock_splits` becomes 0.

    The user confirms a move with 1 in the split column. Several vendors write 1 on every day without a split.
    """
    ones = (bars["stock_splits"] == 1).to_numpy()
    convention = ones.sum() > max(MOST_CONFIRMED, CONFIRMED_SHARE * len(bars)) or ones.sum() > len(bars) / 2
    confirmed = np.zeros(len(bars), dtype=bool) if convention else ones
    if checked_until is not None:
        confirmed = confirmed | (bars.index <= checked_until)
    return bars.assign(stock_splits=bars["stock_splits"].mask(ones, 0.0), confirmed=confirmed)
