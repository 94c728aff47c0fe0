"""The one reading of price files, for `ingest` and for bars in the body of a request.

This module repairs nothing: nulls become NaN, and rows keep the order of the file.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.prices.cleaning.repair import ACTION_COLUMNS, PRICE_COLUMNS
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.dates import read_dates
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.files.notation import read_numbers
from mlops_cli.prices.sources.files.parquet_table import parquet_titles, read_parquet
from mlops_cli.prices.sources.files.table import Event
from mlops_cli.prices.sources.files.text_table import read_text, text_titles

_PLAIN = FileFormat()


def column_titles(content: Content, form: FileFormat = _PLAIN) -> tuple[str, ...]:
    """The titles of a file's columns. Nothing is converted, and at most some lines are read.

    Call it before anything else reads a body: it refuses what would take much memory or time.

    Raises:
        DataError: the file is no table, has too many columns, or is a parquet file with too many rows.
    """
    return parquet_titles(content) if content.is_parquet else text_titles(content, form)


def read_bars(content: Content, ticker: str, timezone: Callable[[], str], form: FileFormat = _PLAIN) -> pd.DataFrame:
    """Read the daily bars of `ticker` from a file of any known layout. Memory is in proportion to the content.

    Args:
        content: a file, or bytes.
        ticker: rows and columns of other tickers are left out; a file of other tickers only is refused.
        timezone: gives the exchange's time zone; called only if the file has moments, which must be converted.
        form: what the user says about the file.

    Returns:
        Index: tz-naive dates in the order of the file, repeats possible. Columns, in float64:
        `open high low close adj_close volume` (`adj_close` is all NaN if the file has none), and `dividends` and
        `stock_splits` if the file has them. Missing values are NaN.

    Raises:
        DataError: it is not a price file, or can be read in two ways; the message names the cell.
    """
    table = (read_parquet if content.is_parquet else read_text)(content, ticker, form)
    days = read_dates(table.dates, table.times, timezone, form, content.name)
    columns = read_numbers(table, days, form.decimal, content.name)
    if "adj_close" not in columns:
        columns["adj_close"] = np.full(len(days), np.nan)
    order = [*PRICE_COLUMNS, *(name for name in ACTION_COLUMNS if name in columns)]
    bars = pd.DataFrame({name: columns[name] for name in order}, index=days)
    return _with_events(bars, table.events, content.name) if table.events else bars


def _with_events(bars: pd.DataFrame, events: tuple[Event, ...], file: str) -> pd.DataFrame:
    """The bars without the rows of events, whose dividends and splits are moved to the bars of their days."""
    rows = np.zeros(len(bars), dtype=bool)
    rows[[event.row for event in events]] = True
    kept = bars[~rows].copy()
    for name in ACTION_COLUMNS:
        kept[name] = kept[name].fillna(0.0) if name in kept else 0.0
    for event in events:
        day = bars.index[event.row]
        if day not in kept.index:
            raise DataError(f"{file}:{day.date()}: {event.kind} {event.text!r} on a day without a bar", "add the bar")
        before = 0.0 if event.kind == "stock_splits" else kept.loc[[day], event.kind].iloc[0]
        kept.loc[day, event.kind] = before + _amount(event)
    return kept[[*PRICE_COLUMNS, *ACTION_COLUMNS]]


def _amount(event: Event) -> float:
    """The number of an event: an amount of money, or the ratio of `10:1`."""
    parts = [float(part) for part in event.text.replace("/", ":").split(":")]
    return parts[0] if len(parts) == 1 else parts[0] / parts[1]
