"""Cleaning rule `dividend_adjustment`: adjusted closes that do not hold a dividend the data itself lists.

The step of the adjusted close on an ex-day is a definition, not an observation: prices before it are multiplied by
1 - D/P with D the dividend and P the close before (CRSP and Yahoo). So a missing step is provable wherever the dividend
itself is believable. Open, high, low and close are never touched.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_cli.prices.cleaning.repair import Repair, noted

NOISE = 1e-3
"""Steps of the log factor below this (0.1 %) are rounding."""
LARGE = 0.10
"""Dividends above this share of the price must be seen in the price, else the dividend is taken as misquoted..."""
SEEN = 0.5
"""...and seen means: the close fell by at least half of it."""
UNDER, OVER = 0.5, 1.5
"""The factor holds a dividend when its step lies between these shares of the right one."""
STRANGE = 1e-2
"""An unlisted step of the factor above 1 % is noted."""


def adjust_dividends(bars: pd.DataFrame, _ticker: str) -> tuple[pd.DataFrame, tuple[Repair, ...]]:
    """Put listed dividends into the adjusted close where they are missing from it, and note steps nothing explains.

    Repaired is only a step that is too small by half; one that is too large may mean a misquoted dividend (another
    currency, cents for dollars) and is only noted. Bars without a `dividends` column are left alone.
    """
    dividends = bars["dividends"].to_numpy()[1:]
    if not (dividends >= 0).any():
        return bars, ()
    closes = bars["close"].to_numpy()
    step = np.diff(np.log(bars["adj_close"].to_numpy()) - np.log(closes))
    share = np.where(dividends > 0, dividends, 0.0) / closes[:-1]
    due = -np.log1p(-np.minimum(share, 0.999))
    fell = np.log(closes[:-1] / closes[1:]) >= SEEN * due
    believable = (share > 0) & (share < 1) & ((share <= LARGE) | fell)
    missing = believable & (step < UNDER * due) & (due - step > NOISE)
    strange = ~missing & (dividends >= 0) & (np.abs(step) > STRANGE) & ((step < UNDER * due) | (step > OVER * due))
    found = noted("dividend_adjustment", bars.index[1:][missing])
    found += noted("adj_close_unclear", bars.index[1:][strange])
    if not missing.any():
        return bars, found
    owed = np.where(missing, due - step, 0.0)
    later = np.append(np.cumsum(owed[::-1])[::-1], 0.0)
    return bars.assign(adj_close=bars["adj_close"] * np.exp(-later)), found
