"""Turns bars and tables that callers send into rows for the models, with the code that training uses for features.

Import this module late: it imports pandas and the exchange calendars, which most servers never need.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from mlops_cli.config.schemas.project import FeatureSpec, Target
from mlops_cli.errors import DataError, bounded
from mlops_cli.features.build import build_features
from mlops_cli.market.sessions import exchange_timezone, sessions
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.reader import read_bars
from mlops_cli.serving.contract.messages import BadInputError, Rows

COLUMNS = ("open", "high", "low", "close", "volume")
MOST_CELLS = 2_000_000  # limit for a CSV file of bars: it is read as text, which takes 100 bytes of memory per cell
DAYS_AHEAD = 30  # added after the last bar, so that the exchange's next session is included
LARGEST_GROWTH = 10  # a parquet file that unpacks to more than this multiple of the largest body is refused


@dataclass(frozen=True)
class FeatureFacts:
    """What the features of a model are computed from, and its input columns in order."""

    features: FeatureSpec
    target: Target
    exchange: str
    ticker: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class PostedRows:
    """Rows to forecast, and the session and close of each.

    Attributes:
        rows: float32 (n, columns), finite, in the order of the model's inputs.
        sessions: session of each row, ISO; empty where the upload has none.
        target_sessions: session that each row forecasts; empty for feature values.
        closes: close of each row's session; empty for feature values.
    """

    rows: Rows
    sessions: list[str]
    target_sessions: list[str]
    closes: npt.NDArray[np.float64]


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
    """Rows from a file of feature values or of daily bars; a `DataError` or `BadInputError` if it holds neither."""
    if not body:
        raise BadInputError("the body is empty", "send a CSV or parquet file: curl --data-binary @FILE")
    parquet = body[:4] == b"PAR1"
    table = _parquet(body, max_body) if parquet else _csv(body)
    if table is not None and set(facts.inputs) <= set(table.column_names):
        return _batch_of_features(table, facts)
    cells = 0 if parquet else sum(body.count(mark) for mark in (b",", b";", b"\t", b"\n"))
    if cells > MOST_CELLS:
        raise BadInputError(f"the upload has {cells} cells, but bars may have at most {MOST_CELLS}", "send it in parts")
    try:
        bars = read_bars(Content.of_bytes(body), facts.ticker, lambda: exchange_timezone(facts.exchange))
    except DataError as error:
        hint = f"send bars (date, {', '.join(COLUMNS)}) or rows with {bounded(list(facts.inputs), 50)}"
        raise DataError(error.message, hint) from None
    return batch_of_bars(bars.rename_axis("session").sort_index()[list(COLUMNS)], facts)


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


def _csv(body: bytes) -> pa.Table | None:
    try:
        return pyarrow.csv.read_csv(io.BytesIO(body))
    except pa.ArrowInvalid:
        return None  # perhaps another layout of bars: `read_bars` reports what is wrong, if anything


def _parquet(body: bytes, max_body: int) -> pa.Table:
    try:
        file = pyarrow.parquet.ParquetFile(pa.BufferReader(body))
        about = file.metadata
        unpacked = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
        if max(8 * about.num_rows * about.num_columns, unpacked) > LARGEST_GROWTH * max_body:
            raise BadInputError(
                f"the parquet file holds {about.num_rows} rows, {unpacked} bytes once unpacked", "send it in parts"
            )
        return file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInputError(f"the upload is not a readable parquet file: {str(error)[:200]}") from None


def _batch_of_features(table: pa.Table, facts: FeatureFacts) -> PostedRows:
    if not table.num_rows:
        raise BadInputError("the upload holds no rows")
    columns = [_numbers(table.column(name), name) for name in facts.inputs]
    dates = [str(day)[:10] for day in table.column("session").to_pylist()] if "session" in table.column_names else []
    return PostedRows(_narrow(np.column_stack(columns), facts.inputs), dates, [], np.empty(0))


def _numbers(column: pa.ChunkedArray, name: str) -> npt.NDArray[np.float64]:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise BadInputError(f"column {name}: {kind}, expected numbers")
    values: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    return values


def _narrow(values: npt.NDArray[np.float64], names: tuple[str, ...]) -> Rows:
    with np.errstate(over="ignore"):
        rows = values.astype(np.float32)
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        cells = [f"row {row + 1} {names[column]}" for row, column in bad[:99]]
        raise BadInputError(f"not finite numbers: {bounded(cells)}", "every row needs every feature")
    return rows
