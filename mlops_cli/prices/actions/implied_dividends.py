"""Dividends that a price table implies: the steps of adjusted close over close.

An adjusted close is the close times a factor that falls by 1 - D / C for each dividend D, where C is the close before
the ex-date (the method of CRSP and Yahoo). So D = C[t-1] * (1 - factor[t-1] / factor[t]).
"""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_cli.prices.actions.dividends import LEAST_SHARE, Sighting

SOURCE = "implied"
MOST_DECIMALS = 4
"""An adjusted close of at most this many decimals counts as rounded; its rounding error then hides small steps."""
SAME = 1e-6  # relative difference that storing a number as float32 may make


def implied_dividends(prices: pd.DataFrame, seen: date) -> list[Sighting]:
    """The dividends that a checked price table implies, rising by ex-date, as seen on day `seen`.

    Steps below `LEAST_SHARE` of the close, or below twice the rounding error of the adjusted close, are left out. A
    table whose adjusted close is the close implies none.
    """
    closes = prices["close"].to_numpy(np.float64)
    adjusted = prices["adj_close"].to_numpy(np.float64)
    factors = adjusted / closes
    shares = 1.0 - factors[:-1] / factors[1:]
    error = _half_unit(adjusted) / adjusted
    places = np.flatnonzero(shares > np.maximum(LEAST_SHARE, 2.0 * (error[:-1] + error[1:])))
    days = pd.DatetimeIndex(prices.index)
    return [
        Sighting(
            ex_date=days[place + 1].date(),
            amount=float(shares[place] * closes[place]),
            close_session=days[place].date(),
            close=float(closes[place]),
            source=SOURCE,
            seen=seen,
        )
        for place in places.tolist()
    ]


def _half_unit(values: npt.NDArray[np.float64]) -> float:
    """Largest rounding error of values that all have few decimals; 0 if they have many."""
    for decimals in range(MOST_DECIMALS + 1):
        if np.all(np.abs(values - np.round(values, decimals)) <= SAME * np.abs(values)):
            return 0.5 * 10.0**-decimals
    return 0.0
