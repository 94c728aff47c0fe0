"""The cleaning rules: they turn the raw bars of a ticker into bars that can be trusted, and list what they changed.

The rules use no files, no network and no clock. A rule repairs only what the data itself proves. Data with a fault
that cannot be repaired with proof is refused with a `DataError` that names ticker and day. The rules run in the order
of this table; each adds a `Repair` with its name and count:

| rule | what it does |
|---|---|
| `out_of_order` | rows dated before the row above them: sorted |
| `outside_calendar` | rows before or after the days that the calendar covers: dropped |
| `non_sessions` | rows on days without a session: dropped; refused where many traded (another exchange's file) |
| `nulls` | a price is missing: row dropped |
| `non_positive` | a price is zero, negative or infinite: row dropped |
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
changes where the right unit is unclear, jumps that look like an unadjusted split but are not proved, or price changes
that are too large for a stock.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.prices.cleaning.repair import ACTION_COLUMNS, OHLC, PRICE_COLUMNS, Cleaned, Repair, noted
from mlops_cli.prices.cleaning.splits import adjust_splits, refuse_unproved_splits
from mlops_cli.prices.cleaning.units import fix_units, refuse_leaps

NOISE = 1e-3  # steps of the log factor below this (0.1 %) are rounding
LARGE = 0.10
"""A dividend above this share of the price is believed only if the price fell; otherwise it may be misquoted..."""
SEEN = 0.5  # ...and the price fell if the close fell by at least this share of the dividend
UNDER, OVER = 0.5, 1.5
"""The adjusted close includes a dividend if its step is between these multiples of the right step."""
STRANGE = 1e-2  # an unlisted step of the factor above 1 % is noted


def adjust_dividends(bars: pd.DataFrame, _ticker: str) -> Cleaned:
    """Adjust the adjusted close for listed dividends that it does not include, and note unexplained steps.

    Only a step of less than half the right size is repaired. A step that is too large may come from a misquoted
    dividend (another currency, cents for dollars) and is only noted. Bars without dividends are not changed.
    """
    dividends = bars["dividends"].to_numpy()[1:]
    if not (dividends >= 0).any():
        return Cleaned(bars)
    closes = bars["close"].to_numpy()
    step = np.diff(np.log(bars["adj_close"].to_numpy()) - np.log(closes))
    share = np.where(dividends > 0, dividends, 0.0) / closes[:-1]
    due = -np.log1p(-np.minimum(share, 0.999))
    fell = np.log(closes[:-1] / closes[1:]) >= SEEN * due
    believable = (share > 0) & (share < 1) & ((share <= LARGE) | fell)
    missing = believable & (step < UNDER * due) & (due - step > NOISE)
    strange = ~missing & (dividends >= 0) & (np.abs(step) > STRANGE) & ((step < UNDER * due) | (step > OVER * due))
    repairs = noted("dividend_adjustment", bars.index[1:][missing])
    repairs += noted("adj_close_unclear", bars.index[1:][strange])
    if not missing.any():
        return Cleaned(bars, repairs)
    corrections = np.where(missing, due - step, 0.0)
    correction_after = np.append(np.cumsum(corrections[::-1])[::-1], 0.0)
    return Cleaned(bars.assign(adj_close=bars["adj_close"] * np.exp(-correction_after)), repairs)


__all__ = ["PRICE_COLUMNS", "Repair", "clean"]

SAME = 1e-3  # relative difference up to which two prices count as the same (sources round differently)
WIDEN = 0.05
"""How far open or close may lie outside [low, high] and still count as a rounding difference between two feeds."""
SPARSE = 3  # rows that are this many sessions apart (median) are not daily bars
MANY_LEAPS = 2
"""From this number of leaps on, the cause is a misplaced decimal point or another instrument, not a split."""
FOREIGN_ROWS, FOREIGN_SHARE = 3, 0.02
"""From this number and share of traded rows on days without a session on, the calendar is the wrong one."""


def clean(frame: pd.DataFrame, ticker: str, sessions: pd.DatetimeIndex) -> Cleaned:
    """Apply every rule of this module to one ticker's bars.

    The function is idempotent. The order of the rows and exact repeats do not matter. A clean table is not changed.

    Args:
        frame: index of dates (time of day and time zone are ignored), any order, repeats possible; columns
            `open high low close adj_close volume`, optionally `stock_splits` and `dividends`; nulls are NaN.
        ticker: for messages.
        sessions: the exchange's sessions, tz-naive, rising, over at least the days of the frame.

    Returns:
        The bars (index `session`: tz-naive, unique, rising; float64; no NaN; prices > 0, volume >= 0; may be empty).

    Raises:
        DataError: a fault that cannot be repaired with proof; the message names ticker and day.
    """
    bars = _prepare(frame, ticker)
    bars, all_repairs = _in_order(bars)
    _refuse_sparse(bars, ticker, sessions)
    for calendar_rule in (_outside_calendar, _non_sessions):
        bars, repairs = calendar_rule(bars, ticker, sessions)
        all_repairs += repairs
    for value_rule in (_drop_bad_prices, _fill_volume, _fill_adj_close):
        bars, repairs = value_rule(bars)
        all_repairs += repairs
    for bar_rule in (_drop_duplicates, fix_units, _consistent_bars, adjust_splits, adjust_dividends):
        bars, repairs = bar_rule(bars, ticker)
        all_repairs += repairs
    refuse_leaps(bars, ticker, at_least=MANY_LEAPS)
    refuse_unproved_splits(bars, ticker)
    refuse_leaps(bars, ticker)
    return Cleaned(bars[list(PRICE_COLUMNS)], all_repairs + _missing_sessions(bars, sessions))


def _prepare(frame: pd.DataFrame, ticker: str) -> pd.DataFrame:
    missing = [name for name in PRICE_COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(f"{ticker}: the bars have no column {', '.join(missing)}", "all six columns are needed")
    bars = frame.reindex(columns=[*PRICE_COLUMNS, *ACTION_COLUMNS]).astype("float64")
    days = pd.DatetimeIndex(frame.index)
    if days.hasnans:
        raise DataError(f"{ticker}: {np.count_nonzero(days.isna())} rows have no date", "give every row its date")
    naive = days if days.tz is None else days.tz_localize(None)
    bars.index = naive.normalize().as_unit("ns").rename("session")
    return bars


def _in_order(bars: pd.DataFrame) -> Cleaned:
    late = np.flatnonzero(np.diff(pd.DatetimeIndex(bars.index).asi8) < 0) + 1
    if late.size == 0:
        return Cleaned(bars)
    return Cleaned(bars.sort_index(kind="stable"), noted("out_of_order", bars.index[late]))


def _refuse_sparse(bars: pd.DataFrame, ticker: str, sessions: pd.DatetimeIndex) -> None:
    days = bars.index.unique()
    steps = np.diff(sessions.searchsorted(days))
    if steps.size >= 4 and np.median(steps) >= SPARSE:
        first = ", ".join(str(day.date()) for day in days[:3])
        raise DataError(
            f"{ticker}: rows are {int(np.median(steps))} sessions apart ({first} ...): weekly or monthly bars",
            "give daily bars (in yfinance: interval='1d')",
        )


def _outside_calendar(bars: pd.DataFrame, _ticker: str, sessions: pd.DatetimeIndex) -> Cleaned:
    if sessions.empty:
        return Cleaned(bars.iloc[:0], noted("outside_calendar", bars.index))
    outside = (bars.index < sessions[0]) | (bars.index > sessions[-1])
    return Cleaned(bars[~outside], noted("outside_calendar", bars.index[outside]))


def _non_sessions(bars: pd.DataFrame, ticker: str, sessions: pd.DatetimeIndex) -> Cleaned:
    stray = ~bars.index.isin(sessions)
    traded = bars.index[stray & (bars["volume"] > 0) & bars["close"].notna()].unique()
    if len(traded) >= FOREIGN_ROWS and len(traded) > FOREIGN_SHARE * len(bars):
        raise DataError(
            f"{ticker}: {len(traded)} of {len(bars)} rows traded on days when the exchange was closed: "
            f"{bounded([str(day.date()) for day in traded])}",
            "set exchange: to the calendar of the exchange these prices come from (XLON, XHKG, ...)",
        )
    return Cleaned(bars[~stray], noted("non_sessions", bars.index[stray]))


def _drop_bad_prices(bars: pd.DataFrame) -> Cleaned:
    prices = bars[OHLC].to_numpy()
    null = np.isnan(prices).any(axis=1)
    bad = ~null & (~np.isfinite(prices) | (prices <= 0)).any(axis=1)
    repairs = noted("nulls", bars.index[null]) + noted("non_positive", bars.index[bad])
    return Cleaned(bars[~null & ~bad], repairs)


def _fill_volume(bars: pd.DataFrame) -> Cleaned:
    bad = ~(np.isfinite(bars["volume"]) & (bars["volume"] >= 0))
    return Cleaned(bars.assign(volume=bars["volume"].mask(bad, 0.0)), noted("bad_volume", bars.index[bad]))


def _fill_adj_close(bars: pd.DataFrame) -> Cleaned:
    good = np.isfinite(bars["adj_close"]) & (bars["adj_close"] > 0)
    if good.all():
        return Cleaned(bars)
    if not good.any():
        return Cleaned(bars.assign(adj_close=bars["close"]), (Repair("missing_adj_close", len(bars)),))
    factor = (bars["adj_close"] / bars["close"]).where(good).ffill().bfill()
    filled = bars["adj_close"].where(good, bars["close"] * factor)
    return Cleaned(bars.assign(adj_close=filled), noted("bad_adj_close", bars.index[~good]))


def _drop_duplicates(bars: pd.DataFrame, ticker: str) -> Cleaned:
    """Keep one bar per session.

    During a session its bar only grows: same open, high not lower, low not higher, volume not smaller. A row that is
    contained in the row with the largest volume in that way is an earlier state of it. For any other difference (a
    restated history, an intraday file, another stock's rows) it cannot be proved which row is right.
    """
    if bars.index.is_unique:
        return Cleaned(bars)
    by = ["volume", "close", "open", "high", "low", "adj_close"]
    ranked = bars.rename_axis("session").sort_values(["session", *by], kind="stable")
    fullest = ranked[~ranked.index.duplicated(keep="last")]
    best = fullest.reindex(ranked.index)
    same = (ranked[OHLC] / best[OHLC] - 1).abs().max(axis=1) <= SAME
    grown = (
        ((ranked["open"] / best["open"] - 1).abs() <= SAME)
        & (ranked["high"] <= best["high"] * (1 + SAME))
        & (ranked["low"] >= best["low"] * (1 - SAME))
        & (ranked["volume"] < best["volume"])
    )
    factor = (ranked["adj_close"] / ranked["close"]) / (best["adj_close"] / best["close"])
    conflict = ranked.index[~((same | grown) & ((factor - 1).abs() <= SAME))].unique()
    if not conflict.empty:
        shown = [f"{day.date()} (closes {_closes(ranked, day)})" for day in conflict[:5]]
        raise DataError(
            f"{ticker}: {len(conflict)} sessions have two different bars: {', '.join(shown)}",
            "keep one row per session: the file may contain two downloads, two stocks or intraday bars",
        )
    return Cleaned(fullest, noted("duplicates", ranked.index[ranked.index.duplicated(keep="last")]))


def _closes(bars: pd.DataFrame, day: pd.Timestamp) -> str:
    return " / ".join(f"{close:g}" for close in bars.loc[[day], "close"].unique()[:3])


def _consistent_bars(bars: pd.DataFrame, _ticker: str) -> Cleaned:
    opens, highs, lows, closes = bars[OHLC].to_numpy().T
    top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
    if ((highs >= top) & (lows <= bottom)).all():
        return Cleaned(bars)
    swapped = (highs < lows) & (top <= lows) & (bottom >= highs)
    highs, lows = np.where(swapped, lows, highs), np.where(swapped, highs, lows)
    excess = np.maximum(top / highs, lows / bottom) - 1  # also catches high < low, because open cannot satisfy both
    wide, broken = (excess > 0) & (excess <= WIDEN), excess > WIDEN
    fixed = bars.assign(high=np.maximum(highs, top), low=np.minimum(lows, bottom))
    repairs = noted("swapped_high_low", bars.index[swapped]) + noted("widened_range", bars.index[wide])
    return Cleaned(fixed[~broken], repairs + noted("inconsistent_bar", bars.index[broken]))


def _missing_sessions(bars: pd.DataFrame, sessions: pd.DatetimeIndex) -> tuple[Repair, ...]:
    if bars.empty:
        return ()
    between = sessions[sessions.searchsorted(bars.index[0]) : sessions.searchsorted(bars.index[-1])]
    return noted("missing_sessions", between[~between.isin(bars.index)])
