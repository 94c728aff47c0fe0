"""Cleaning rule `dividend_adjustment`: the adjusted close includes the dividends that the data lists."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_cli.prices.cleaning.repair import Cleaned, noted

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
    dividend (another currency, cents for dollars) and is only noted. Bars without dividends are not changed. On the day
    of a listed split, the dividend may be per share before the split.
    """
    dividends = bars["dividends"].to_numpy()[1:]
    if not (dividends >= 0).any():
        return Cleaned(bars)
    closes = bars["close"].to_numpy()
    step = np.diff(np.log(bars["adj_close"].to_numpy()) - np.log(closes))
    share = np.where(dividends > 0, dividends, 0.0) / closes[:-1]
    due = -np.log1p(-np.minimum(share, 0.999))
    ratios = bars["stock_splits"].where(bars["stock_splits"] > 0, 1.0).to_numpy()[1:]
    per_old_share = -np.log1p(-np.minimum(share / ratios, 0.999))
    due = np.where(np.abs(step - per_old_share) < np.abs(step - due), per_old_share, due)
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
