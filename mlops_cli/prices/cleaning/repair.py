"""What a cleaning rule did or saw, for the provenance, and the columns the rules work on."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import pandas as pd

OHLC = ["open", "high", "low", "close"]
PRICE_COLUMNS = ("open", "high", "low", "close", "adj_close", "volume")
ACTION_COLUMNS = ("stock_splits", "dividends")
"""Columns a source may add: the split ratio on the day (2 for 2:1, else 0) and the dividend per share on the ex-day."""

MOST_EXAMPLES = 5


@dataclass(frozen=True)
class Repair:
    """One cleaning rule that found something in one ticker's bars.

    Attributes:
        rule: the rule's name (see `mlops_cli.prices.cleaning.rules`).
        count: rows, or events, that it repaired, dropped or noted.
        examples: at most 5 of them, in words (`2005-02-28 2:1`).
    """

    rule: str
    count: int
    examples: tuple[str, ...] = ()


def noted(rule: str, days: Iterable[Hashable]) -> tuple[Repair, ...]:
    """A `Repair` for these days (timestamps, or ready words), or nothing where there are none.

    >>> noted("nulls", pd.to_datetime(["2024-03-12"]))
    (Repair(rule='nulls', count=1, examples=('2024-03-12',)),)
    >>> noted("nulls", [])
    ()
    """
    words = [str(day.date()) if isinstance(day, pd.Timestamp) else str(day) for day in days]
    return (Repair(rule, len(words), tuple(list(dict.fromkeys(words))[:MOST_EXAMPLES])),) if words else ()
