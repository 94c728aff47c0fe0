"""Turns bars and tables that callers send into rows for the models, with the code that training uses for features.

Import this module late: it imports pandas and the exchange calendars, which most servers never need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.features.build import build_features
from mlops_cli.market.sessions import exchange_timezone, sessions
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.reader import read_bars
from mlops_cli.serving.contract.messages import BadInputError, Rows
from mlops_cli.serving.uploads.feature_files import FeatureRows, csv_columns, open_parquet, read_csv, read_parquet
from mlops_cli.serving.uploads.posted_rows import FeatureFacts, PostedRows

COLUMNS = ("open", "high", "low", "close", "volume")
# limits for bars: they are read as text, which takes 100 bytes of memory per cell. 80 years have 20,000 sessions
MOST_BARS, MOST_COLUMNS, MOST_CELLS = 20_000, 5_000, 500_000
_FIRST_LINES = 65_536  # bytes in which the columns of a text file are counted
DAYS_AHEAD = 30  # added after the last bar, so that the exchange's next session is included
LARGEST_GROWTH = 4  # a parquet file that unpacks to more than this multiple of the largest body is refused


def frame_of(bars: Iterable[Any]) -> pd.DataFrame:
    """A table of bars from objects with `session` and the `COLUMNS`."""
    listed = list(bars)
    index = pd.DatetimeIndex([bar.session for bar in listed], name="session")
    columns = {name: np.array([getattr(bar, name) for bar in listed], np.float64) for name in COLUMNS}
    return pd.DataFrame(columns, index=index)


def batch_of_bars(bars: pd.DataFrame, facts: FeatureFacts) -> PostedRows:
    """Features of every session that has all of them.

    Raises:
        DataError: the bars are not a valid price table (unsorted, repeated, not positive, not on sessions), or
            there are too few.
    """
    _check_bars(bars, facts)
    days = sessions(facts.exchange, bars.index[0], bars.index[-1] + pd.Timedelta(days=DAYS_AHEAD))
    strange = bars.index[~bars.index.isin(days)]
    if len(strange):
        raise DataError(
            f"{facts.ticker}: not sessions of {facts.exchange}: {bounded([f'{day:%F}' for day in strange[:99]])}"
        )
    with np.errstate(all="ignore"):  # extreme bars overflow; the results are checked below
        try:
            table = build_features(bars, facts.features, facts.target, days, facts.ticker)
        except DataError as error:  # its hint is for people who run the pipeline, not for callers over HTTP
            raise DataError(error.message, "send a longer, or corrected, history of bars") from None
        rows = _narrow(table[list(facts.inputs)].to_numpy(np.float64), facts.inputs)
    named = [f"{day:%F}" for day in table.index]
    targets = [f"{day:%F}" for day in table["target_session"]]
    return PostedRows(rows, named, targets, table["last_close"].to_numpy(np.float64))


def batch_of_upload(body: bytes, facts: FeatureFacts, max_body: int) -> PostedRows:
    """Rows from a file of feature values or of daily bars; a `DataError` or `BadInputError` if it holds neither.

    `max_body` is the size in bytes of the largest body; what the file unpacks to is bounded in proportion to it.
    """
    if not body:
        raise BadInputError("the body is empty", "send a CSV or parquet file: curl --data-binary @FILE")
    if body[:4] == b"PAR1":
        file = open_parquet(body)
        if set(facts.inputs) <= set(file.schema_arrow.names):
            return _batch_of_features(read_parquet(file, facts.inputs, LARGEST_GROWTH * max_body))
        _check_bars_file(file.metadata.num_rows, file.metadata.num_columns)
        return batch_of_bars(_bars_of_file(body, facts), facts)
    names = csv_columns(body)
    if set(facts.inputs) <= set(names):
        return _batch_of_features(read_csv(body, facts.inputs))
    _check_bars_file(*_size(body))
    return batch_of_bars(_bars_of_file(body, facts), facts)


def _size(body: bytes) -> tuple[int, int]:
    """Most rows that a text file can have, and most cells of its first lines."""
    rows = max(body.count(b"\n"), body.count(b"\r")) + 1
    columns = max(line.count(mark) for line in body[:_FIRST_LINES].split(b"\n") for mark in (b",", b";", b"\t", b"|"))
    return rows, columns + 1


def _check_bars_file(rows: int, columns: int) -> None:
    """Refuse a file that is larger than any history of daily bars, before it is read."""
    if rows > MOST_BARS or columns > MOST_COLUMNS or rows * columns > MOST_CELLS:
        text = f"the upload has {rows} rows of up to {columns} columns"
        raise BadInputError(
            f"{text}, and bars may have {MOST_BARS} rows, {MOST_COLUMNS} columns and {MOST_CELLS} cells",
            "send the bars of one ticker",
        )


def _bars_of_file(body: bytes, facts: FeatureFacts) -> pd.DataFrame:
    try:
        bars = read_bars(Content.of_bytes(body), facts.ticker, lambda: exchange_timezone(facts.exchange))
    except DataError as error:
        hint = f"send bars (date, {', '.join(COLUMNS)}) or rows with {bounded(list(facts.inputs), 50)}"
        raise DataError(error.message, hint) from None
    return bars.rename_axis("session").sort_index()[list(COLUMNS)]


def _batch_of_features(features: FeatureRows) -> PostedRows:
    return PostedRows(features.rows, features.sessions, [], np.empty(0))


def _check_bars(bars: pd.DataFrame, facts: FeatureFacts) -> None:
    days = bars.index
    if not len(days):
        raise DataError(f"{facts.ticker}: no bars", f"send rows of date, {', '.join(COLUMNS)}")
    if not (days.is_monotonic_increasing and days.is_unique):
        raise DataError(f"{facts.ticker}: sessions must ascend, without repeats", "sort the bars; drop repeats")
    values = bars[list(COLUMNS)].to_numpy()
    bad = ~np.isfinite(values) | np.column_stack([values[:, :4] <= 0, values[:, 4:] < 0])
    if bad.any():
        cells = [f"{days[row]:%F} {COLUMNS[column]}" for row, column in np.argwhere(bad)[:99]]
        raise DataError(f"{facts.ticker}: missing, not positive or not finite: {bounded(cells)}", "send complete bars")


def _narrow(values: npt.NDArray[np.float64], names: tuple[str, ...]) -> Rows:
    with np.errstate(over="ignore"):
        rows = values.astype(np.float32)
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        cells = [f"row {row + 1} {names[column]}" for row, column in bad[:99]]
        raise BadInputError(f"not finite numbers: {bounded(cells)}", "every row needs every feature")
    return rows
