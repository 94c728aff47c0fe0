"""Dividends that a price table implies: the steps of adjusted close over close.

An adjusted close is the close times a factor that falls by 1 - D / C for each dividend D, where C is the close before
the ex-date (the method of CRSP and Yahoo). So D = C[t-1] * (1 - factor[t-1] / factor[t]).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_cli.prices.actions.dividends import LEAST_SHARE, Vector

SOURCE = "implied"
MOST_DECIMALS = 4
"""An adjusted close of at most this many decimals counts as rounded; its rounding error then hides small steps."""
SAME = 1e-6  # relative difference that storing a number as float32 may make
NOISE = 1e-4  # share of the close; two amounts that differ by less are the same
ROUGH = 0.02  # relative difference of two amounts that count as the same


@dataclass(frozen=True)
class ImpliedSteps:
    """What the adjusted closes of a price table imply for each of its sessions but the first, n of them.

    Attributes:
        ex_dates: the sessions, by position.
        closes: the closes before them, float64 (n,).
        amounts: the implied dividends in price units, float64 (n,); about 0 where there is none.
        errors: how far rounding may move each amount, float64 (n,).
    """

    ex_dates: pd.DatetimeIndex
    closes: Vector
    amounts: Vector
    errors: Vector

    def dividends(self) -> dict[date, float]:
        """By ex-date, the amounts that are no rounding: above `LEAST_SHARE` of the close and twice the error."""
        clear = self.amounts > np.maximum(LEAST_SHARE * self.closes, 2.0 * self.errors)
        return {self.ex_dates[place].date(): float(self.amounts[place]) for place in np.flatnonzero(clear).tolist()}

    def amount_on(self, day: date) -> float | None:
        """The implied amount of a session, rounding included; None if the table has no step on that day."""
        place = self._place(day)
        return None if place is None else float(self.amounts[place])

    def agrees(self, day: date, amount: float) -> bool:
        """Whether the adjusted closes allow this dividend; True on a day of which they say nothing."""
        place = self._place(day)
        if place is None:
            return True
        implied = float(self.amounts[place])
        allowed = NOISE * self.closes[place] + ROUGH * max(amount, implied) + 2.0 * self.errors[place]
        return bool(abs(amount - implied) <= allowed)

    def _place(self, day: date) -> int | None:
        stamp = pd.Timestamp(day)
        place = int(self.ex_dates.searchsorted(stamp))
        return place if place < len(self.ex_dates) and self.ex_dates[place] == stamp else None


def implied_steps(prices: pd.DataFrame) -> ImpliedSteps:
    """The steps of a checked price table; all about 0 if its adjusted close is the close."""
    closes = prices["close"].to_numpy(np.float64)
    adjusted = prices["adj_close"].to_numpy(np.float64)
    factors = adjusted / closes
    error = _half_unit(adjusted) / adjusted
    return ImpliedSteps(
        ex_dates=pd.DatetimeIndex(prices.index)[1:],
        closes=closes[:-1],
        amounts=closes[:-1] * (1.0 - factors[:-1] / factors[1:]),
        errors=closes[:-1] * (error[:-1] + error[1:]),
    )


def _half_unit(values: npt.NDArray[np.float64]) -> float:
    """Largest rounding error of values that all have few decimals; 0 if they have many."""
    for decimals in range(MOST_DECIMALS + 1):
        if np.all(np.abs(values - np.round(values, decimals)) <= SAME * np.abs(values)):
            return 0.5 * 10.0**-decimals
    return 0.0
