"""What a model's graph needs beside the inputs of its network: the announced dividend, and the widths of intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops_cli.features.column_names import ANNOUNCED, width_columns
from mlops_cli.features.indicators import Bars, Values, lagged
from mlops_cli.features.intervals import ScaledErrors, half_widths, scaled_errors, stock_quantiles
from mlops_cli.prices.actions.dividends import Sighting, announced_amounts, paid_amounts, usable_shares


@dataclass(frozen=True)
class Extras:
    """What a model's graph needs beside the inputs of its network.

    Attributes:
        dividends: all sightings of the ticker's dividends, for a base that subtracts them; else None.
        levels: of the prediction intervals, in percent, rising.
        quantiles: those of the fleet (`intervals.fleet_quantiles`); None: the intervals are made of the ticker alone.
    """

    dividends: Sequence[Sighting] | None = None
    levels: tuple[float, ...] = ()
    quantiles: pd.DataFrame | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The input columns that follow those of the network: the announced dividend, and the widths."""
        return (*((ANNOUNCED,) if self.dividends is not None else ()), *width_columns(self.levels))


NO_EXTRAS = Extras()


def next_dividends(bars: Bars, extras: Extras) -> tuple[Values, Values]:
    """For each bar the dividend of the next session: its announced share of the close, and the amount that was paid."""
    if extras.dividends is None:
        return np.zeros(len(bars.close)), np.zeros(len(bars.close))
    amounts = announced_amounts(extras.dividends, bars.sessions, bars.next_sessions)
    return usable_shares(amounts, bars.close), paid_amounts(extras.dividends, bars.next_sessions)


def interval_widths(bars: Bars, announced: Values, extras: Extras) -> Values:
    """Half widths of the intervals of each bar, (bars, levels)."""
    if not extras.levels:
        return np.empty((len(bars.close), 0))
    scaled = bar_errors(bars, announced)
    if extras.quantiles is None:
        quantiles = stock_quantiles(scaled.errors, extras.levels)
    else:  # a session that the fleet does not have yet gets the newest quantiles before it
        quantiles = extras.quantiles.reindex(bars.sessions, method="ffill").to_numpy(np.float64)
    return half_widths(scaled.scales, quantiles)


def bar_errors(bars: Bars, announced: Values) -> ScaledErrors:
    """Errors of "only the announced dividend changes the close", and the volatility."""
    follows = np.append(False, bars.sessions[1:] == bars.next_sessions[:-1])
    dividend = np.where(follows, lagged(announced, 1), 0.0)  # over a halt, it may be of another session
    return scaled_errors(bars.returns + np.log1p(dividend * np.exp(-bars.returns)), follows)
