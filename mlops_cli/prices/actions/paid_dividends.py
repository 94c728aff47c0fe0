"""The dividends that holders of a stock received, as the sightings beside a price table have them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd

from mlops_cli.prices.actions.dividends import newest, restated
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings


def paid_dividends(folder: Path, ticker: str, closes: pd.Series[float]) -> dict[date, float]:
    """The dividends of a ticker by ex-date, per share and in the units of `closes` (index: tz-naive sessions).

    They are what the newest sighting of each ex-date says, whenever it became known, so they belong into books and
    figures, never into forecasts. Without a file of sightings there are none.

    Raises:
        DataError: the file of sightings is damaged.
    """
    sightings = restated(read_sightings(dividends_file(folder, ticker)) or [], closes)
    return {day: sighting.amount for day, sighting in newest(sightings).items() if sighting.amount > 0}
