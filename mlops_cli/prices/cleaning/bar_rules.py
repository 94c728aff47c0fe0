"""Cleaning rules about the values of single bars: missing or impossible prices, duplicates, inconsistent bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.errors import DataError
from mlops_cli.prices.cleaning.repair import OHLC, Cleaned, Repair, noted

SAME = 1e-3  # relative difference up to which two prices count as the same (sources round differently)
WIDEN = 0.05
"""How far open or close may lie outside [low, high] and still count as a rounding difference between two feeds."""


def fill_prices(bars: pd.DataFrame) -> Cleaned:
    """Replace opens, highs and lows that were not recorded (0 or empty) in rows that have a close.

    The open becomes the close of the session before, within the range of the day. The high and the low become the
    higher and the lower of open and close. If another row of the session has all prices, the row is left for the rules
    that drop it.
    """
    prices = bars[OHLC].to_numpy()
    absent = np.isnan(prices) | (prices == 0)
    if not absent.any():
        return Cleaned(bars)
    valid = np.isfinite(prices) & (prices > 0)
    whole = pd.Series(valid.all(axis=1)).groupby(bars.index).transform("any").to_numpy()
    fillable = absent.any(axis=1) & (absent | valid).all(axis=1) & valid[:, 3] & ~whole
    if not fillable.any():
        return Cleaned(bars)
    no_open, no_high, no_low = (fillable & absent[:, column] for column in range(3))
    opens, highs, lows, closes = prices.T
    lowest, highest = np.where(no_low, 0.0, lows), np.where(no_high, np.inf, highs)
    opens = np.where(no_open, np.maximum(np.minimum(_closes_before(bars), highest), lowest), opens)
    highs = np.where(no_high, np.maximum(opens, closes), highs)
    lows = np.where(no_low, np.minimum(opens, closes), lows)
    repairs = noted("missing_open", bars.index[no_open]) + noted("missing_range", bars.index[no_high | no_low])
    return Cleaned(bars.assign(open=opens, high=highs, low=lows), repairs)


def _closes_before(bars: pd.DataFrame) -> NDArray[np.float64]:
    """The last valid close of an earlier session, for each row; in the first session the row's own close."""
    closes = bars["close"].where(np.isfinite(bars["close"]) & (bars["close"] > 0))
    before = closes.groupby(level=0).max().ffill().shift(1)
    earlier: NDArray[np.float64] = before.reindex(bars.index).fillna(bars["close"]).to_numpy()
    return earlier


def drop_bad_prices(bars: pd.DataFrame) -> Cleaned:
    """Drop rows with a price that is missing or impossible."""
    prices = bars[OHLC].to_numpy()
    null = np.isnan(prices).any(axis=1)
    bad = ~null & (~np.isfinite(prices) | (prices <= 0)).any(axis=1)
    repairs = noted("nulls", bars.index[null]) + noted("non_positive", bars.index[bad])
    return Cleaned(bars[~null & ~bad], repairs)


def fill_volume(bars: pd.DataFrame) -> Cleaned:
    """Replace impossible volumes by 0."""
    bad = ~(np.isfinite(bars["volume"]) & (bars["volume"] >= 0))
    return Cleaned(bars.assign(volume=bars["volume"].mask(bad, 0.0)), noted("bad_volume", bars.index[bad]))


def fill_adj_close(bars: pd.DataFrame) -> Cleaned:
    """Replace missing adjusted closes: by the close, or by the close times the factor of the row before."""
    good = np.isfinite(bars["adj_close"]) & (bars["adj_close"] > 0)
    if good.all():
        return Cleaned(bars)
    if not good.any():
        return Cleaned(bars.assign(adj_close=bars["close"]), (Repair("missing_adj_close", len(bars)),))
    factor = (bars["adj_close"] / bars["close"]).where(good).ffill().bfill()
    filled = bars["adj_close"].where(good, bars["close"] * factor)
    return Cleaned(bars.assign(adj_close=filled), noted("bad_adj_close", bars.index[~good]))


def drop_duplicates(bars: pd.DataFrame, ticker: str) -> Cleaned:
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


def consistent_bars(bars: pd.DataFrame, _ticker: str) -> Cleaned:
    """Swap, widen or drop bars whose open or close is outside of [low, high]."""
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
