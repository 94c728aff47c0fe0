"""Price tables with dividends of known amounts, and sightings of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd

from mlops_cli.market.sessions import sessions
from mlops_cli.prices.actions.dividends import Sighting


def paying_prices(
    dividends: Mapping[str, float], first: str = "2024-01-02", last: str = "2024-06-28", close: float = 100.0
) -> pd.DataFrame:
    """A checked price table of an NYSE stock: closes near `close`, adjusted closes that imply exactly `dividends`."""
    days = sessions("XNYS", pd.Timestamp(first), pd.Timestamp(last)).rename("session")
    closes = np.round(close + np.sin(np.arange(len(days))), 2)
    factors = np.ones(len(days))
    for day, amount in dividends.items():
        place = int(days.get_loc(pd.Timestamp(day)))
        factors[:place] *= 1 - amount / closes[place - 1]
    bars = {"open": closes, "high": closes, "low": closes, "close": closes, "adj_close": closes * factors}
    return pd.DataFrame({**bars, "volume": np.full(len(days), 1000.0)}, index=days)


def sighting(ex_date: str, amount: float = 1.0, seen: str = "2024-01-02", **more: object) -> Sighting:
    """A sighting whose amount is in the units of a close of 100."""
    facts = {"close_session": date(2024, 1, 2), "close": 100.0, "source": "csv"}
    return Sighting(date.fromisoformat(ex_date), amount, seen=date.fromisoformat(seen), **{**facts, **more})
