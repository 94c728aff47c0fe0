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
from mlops_cli.market.sessions import exchange_timezone, last_finished_session, sessions
from mlops_cli.prices.cleaning.guards import refuse_faults
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.reader import read_bars
from mlops_cli.serving.contract.messages import BadInputError, Rows
from mlops_cli.serving.uploads.feature_files import FeatureRows, csv_columns, open_parquet, read_csv, read_parquet
from mlops_cli.serving.uploads.posted_rows import FeatureFacts, PostedRows

COLUMNS = ("open", "high", "low", "close", "volume")
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

    `bars` may have the columns `adj_close`, `dividends` and `stock_splits` as well, which the guards look at.

    Raises:
        DataError: the bars are not a valid price table (unsorted, repeated, not positive, not on sessions, of
            sessions that have not closed), `mlops ingest` would refuse or repair them, or there are too few.
    """
    _check_bars(bars, facts)
    days = sessions(facts.exchange, bars.index[0], bars.index[-1] + pd.Timedelta(days=DAYS_AHEAD))
    strange = bars.index[~bars.index.isin(days)]
    if len(strange):
        raise DataError(
            f"{facts.ticker}: not sessions of {facts.exchange}: {bounded([f'{day:%F}' for day in strange[:99]])}"
        )
    refuse_faults(bars, facts.ticker, days, last_finished_session(facts.exchange, pd.Timestamp.now("UTC")))
    bars = bars[list(COLUMNS)]
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
            return _batch_of_features(read_parquet(file, body, facts, LARGEST_GROWTH * max_body))
    elif set(facts.inputs) <= set(csv_columns(body)):
        return _batch_of_features(read_csv(body, facts))
    try:
        bars = read_bars(Content.of_bytes(body), facts.ticker, lambda: exchange_timezone(facts.exchange))
    except DataError as error:  # its hint names settings of params.yaml, which callers over HTTP do not have
        hint = f"send bars (date, {', '.join(COLUMNS)}) or rows with {bounded(list(facts.inputs), 50)}"
        raise DataError(error.message, hint) from None
    return batch_of_bars(bars.rename_axis("session").sort_index(), facts)


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
