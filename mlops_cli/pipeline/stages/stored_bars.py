"""What stage `featurize` reads of one ticker: its price table, its dividends, and the days of its exchange."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.prices.actions.dividends import Sighting, restated
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings

DAYS_AHEAD = 30  # days after the last price that surely hold the exchange's next session


@dataclass(frozen=True)
class StoredBars:
    """A price table, the exchange's sessions from its first day to after its last, and the dividends, if asked for."""

    bars: pd.DataFrame
    days: pd.DatetimeIndex
    dividends: list[Sighting] | None


def read_bars(prices: Path, ticker: str, exchange: str, dividends: bool) -> StoredBars:
    """Read a ticker from its branch's price folder; a `DataError` if it has no prices, or they are damaged."""
    bars = read_table(prices, ticker)
    if bars is None:
        raise DataError(f"{ticker}: no prices in {prices}", "run: mlops ingest")
    days = sessions(exchange, bars.index[0], bars.index[-1] + pd.Timedelta(days=DAYS_AHEAD))
    seen = restated(read_sightings(dividends_file(prices, ticker)) or [], bars["close"]) if dividends else None
    return StoredBars(bars, days, seen)
