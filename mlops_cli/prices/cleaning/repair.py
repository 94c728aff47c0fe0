"""The results of cleaning rules, and the columns that the rules use."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

OHLC = ["open", "high", "low", "close"]
PRICE_COLUMNS = ("open", "high", "low", "close", "adj_close", "volume")
ACTION_COLUMNS = ("stock_splits", "dividends")
"""Columns that a source may add: split ratio on the day (2 for 2:1, else 0), and dividend per share on the ex-day."""

MOST_EXAMPLES = 5


@dataclass(frozen=True)
class Repair:
    """What one cleaning rule repaired or noted in the bars of a ticker.

    Attributes:
        count: number of rows, or events, that it repaired, dropped or noted.
        examples: at most 5 of them, in words (`2005-02-28 2:1`).
    """

    rule: str
    count: int
    examples: tuple[str, ...] = ()


class Cleaned(NamedTuple):
    """The bars after one or all cleaning rules, and one `Repair` per rule that repaired or noted something."""

    bars: pd.DataFrame
    repairs: tuple[Repair, ...] = ()


def noted(rule: str, days: Iterable[Hashable]) -> tuple[Repair, ...]:
    """One `Repair` for these days (timestamps, or texts); nothing if there are none.

    >>> noted("nulls", pd.to_datetime(["2024-03-12"]))
    (Repair(rule='nulls', count=1, examples=('2024-03-12',)),)
    >>> noted("nulls", [])
    ()
    """
    words = [str(day.date()) if isinstance(day, pd.Timestamp) else str(day) for day in days]
    return (Repair(rule, len(words), tuple(list(dict.fromkeys(words))[:MOST_EXAMPLES])),) if words else ()
