"""The dividends that forecasts from a caller's bars use: the caller's own, and those that the project has seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.prices.actions.dividends import LARGEST_SHARE, LEAST_SHARE, Sighting, announced_amounts, restated
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings
from mlops_cli.serving.contract.messages import BadInputError, DividendSource
from mlops_cli.serving.uploads.posted_rows import FeatureFacts

PAID = "dividends"
"""Column of bars: what a session paid to those who held the share before it."""
_SOURCE = "request"


@dataclass(frozen=True)
class PostedDividends:
    """Dividends for the features of a caller's bars.

    Attributes:
        sightings: of the ticker; None if the model has no base that subtracts dividends.
        source: of the dividend of the session after the last bar, as in `Forecast`.
    """

    sightings: list[Sighting] | None
    source: DividendSource | None


def dividends_for(
    bars: pd.DataFrame, announced: float | None, facts: FeatureFacts, following: pd.Timestamp
) -> PostedDividends:
    """The dividends that are known for a caller's bars.

    Args:
        bars: checked bars; a column `dividends` has what each session paid, NaN for nothing. It replaces what the
            project knows about these sessions.
        announced: dividend of the session after the last bar in price units, 0 for none; None: the project's.
        facts: of the model.
        following: the session after the last bar.

    Raises:
        BadInputError: `announced` is no usual share of the last close.
        DataError: a paid dividend is negative or as large as the close before, or the project's list is damaged.
    """
    if facts.prices is None:
        return PostedDividends(None, "not subtracted" if announced else None)
    project = read_sightings(dividends_file(facts.prices, facts.ticker))
    known = restated(project or [], bars["close"])
    if PAID in bars.columns:
        known = _replaced(known, _paid(bars, known, facts.ticker))
    last = bars.index[-1]
    if announced is not None:
        _check_announced(announced, float(bars["close"].iloc[-1]))
        return PostedDividends(_replaced(known, [_sighting(bars, len(bars), following.date(), announced)]), "request")
    days = pd.DatetimeIndex([last]), pd.DatetimeIndex([following])
    if announced_amounts(known, *days)[0] > 0:
        return PostedDividends(known, "project")
    return PostedDividends(known, "unknown" if project is None else None)


def _replaced(known: list[Sighting], posted: list[Sighting]) -> list[Sighting]:
    """What a caller says, and what the project saw of other ex-dates, whenever that was."""
    days = {sighting.ex_date for sighting in posted}
    return [*(sighting for sighting in known if sighting.ex_date not in days), *posted]


def _paid(bars: pd.DataFrame, known: list[Sighting], ticker: str) -> list[Sighting]:
    """What the column of dividends says of the sessions of the bars; 0 where only the project has a dividend."""
    amounts = bars[PAID].fillna(0.0).to_numpy(np.float64)
    closes = bars["close"].to_numpy(np.float64)
    is_absurd = amounts < 0
    is_absurd[1:] |= amounts[1:] >= closes[:-1]
    if is_absurd.any():
        days = bounded([f"{day:%F}" for day in bars.index[is_absurd]])
        raise DataError(
            f"{ticker}: dividends below 0, or as large as the close before: {days}",
            "send the dividend of one share, in the units of the prices",
        )
    listed = {sighting.ex_date for sighting in known}
    return [
        _sighting(bars, place, day.date(), float(amounts[place]))
        for place, day in enumerate(bars.index)
        if place and (amounts[place] or day.date() in listed)
    ]


def _sighting(bars: pd.DataFrame, place: int, ex_date: date, amount: float) -> Sighting:
    """The dividend of the session behind bar `place` - 1, known at its close."""
    before, close = bars.index[place - 1].date(), float(bars["close"].iloc[place - 1])
    return Sighting(ex_date, amount, before, close, _SOURCE, seen=before)


def _check_announced(announced: float, close: float) -> None:
    share = announced / close
    if announced and not LEAST_SHARE < share <= LARGEST_SHARE:
        raise BadInputError(
            f"announced_dividend {announced:g} is {share:.3%} of the last close {close:g}: neither below "
            f"{LEAST_SHARE:.2%} nor above {LARGEST_SHARE:.0%} is taken for a dividend",
            "send the dividend of one share, in the units of the prices; 0 for none",
        )
