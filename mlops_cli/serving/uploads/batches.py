"""Turns bars and tables that callers send into rows for the models, with the code that training uses for features.

Import this module late: it imports pandas and the exchange calendars, which most servers never need.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.features.build import build_features
from mlops_cli.features.column_names import ANNOUNCED, width_columns
from mlops_cli.features.extras import Extras
from mlops_cli.market.sessions import exchange_timezone, last_finished_session, sessions
from mlops_cli.prices.cleaning.guards import refuse_faults
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.reader import read_bars
from mlops_cli.serving.answering.request_columns import DIVIDEND_HINT
from mlops_cli.serving.contract.messages import BadInputError, Rows
from mlops_cli.serving.uploads.feature_files import FeatureRows, csv_columns, open_parquet, read_csv, read_parquet
from mlops_cli.serving.uploads.posted_dividends import PAID, dividends_for
from mlops_cli.serving.uploads.posted_rows import FeatureFacts, PostedRows

COLUMNS = ("open", "high", "low", "close", "volume")
DAYS_AHEAD = 30  # added after the last bar, so that the exchange's next session is included
LARGEST_GROWTH = 4  # a parquet file that unpacks to more than this multiple of the largest body is refused


def frame_of(bars: Iterable[Any]) -> pd.DataFrame:
    """A table of bars from objects with `session`, the `COLUMNS`, and `dividend`, which may be None."""
    listed = list(bars)
    index = pd.DatetimeIndex([bar.session for bar in listed], name="session")
    columns = {name: np.array([getattr(bar, name) for bar in listed], np.float64) for name in COLUMNS}
    paid = np.array([math.nan if bar.dividend is None else bar.dividend for bar in listed], np.float64)
    return pd.DataFrame({**columns, **({} if np.isnan(paid).all() else {PAID: paid})}, index=index)


def batch_of_bars(bars: pd.DataFrame, facts: FeatureFacts, announced: float | None = None) -> PostedRows:
    """Features of every session that has all of them.

    Args:
        bars: they may have the columns `adj_close`, `dividends` and `stock_splits` as well, which the guards look at.
        facts: of the model.
        announced: dividend of the session after the last bar, see `posted_dividends.dividends_for`.

    Raises:
        BadInputError: the announced dividend is none, or a feature is not finite.
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
    posted = dividends_for(bars, announced, facts, days[days > bars.index[-1]][0])
    bars, extras = bars[list(COLUMNS)], Extras(posted.sightings, facts.levels, _fleet_quantiles(facts))
    with np.errstate(all="ignore"):  # extreme bars overflow; the results are checked below
        try:
            table = build_features(bars, facts.features, facts.target, days, facts.ticker, extras)
        except DataError as error:  # its hint is for people who run the pipeline, not for callers over HTTP
            raise DataError(error.message, "send a longer, or corrected, history of bars") from None
        rows = _narrow(table[list(facts.inputs)].to_numpy(np.float64), facts.inputs)
    named = [f"{day:%F}" for day in table.index]
    targets = [f"{day:%F}" for day in table["target_session"]]
    closes = table["last_close"].to_numpy(np.float64)
    shares = table[ANNOUNCED].to_numpy(np.float64) if ANNOUNCED in table.columns else np.zeros(len(table))
    return PostedRows(rows, named, targets, closes, facts.levels, closes * shares, posted.source)


def _fleet_quantiles(facts: FeatureFacts) -> pd.DataFrame | None:
    """The newest quantiles of the model's fleet, by session; None if its intervals are made of its own stock."""
    note = {} if facts.note is None or not facts.note.is_file() else json.loads(facts.note.read_text(encoding="utf-8"))
    newest = note.get("quantiles")
    if newest is None:
        return None
    values = {name: math.inf if newest.get(name) is None else newest[name] for name in width_columns(facts.levels)}
    return pd.DataFrame(values, index=pd.DatetimeIndex([newest["session"]]))


def batch_of_upload(body: bytes, facts: FeatureFacts, max_body: int, announced: float | None = None) -> PostedRows:
    """Rows from a file of feature values or of daily bars; a `DataError` or `BadInputError` if it holds neither.

    `max_body` is the size in bytes of the largest body; what the file unpacks to is bounded in proportion to it. For
    `announced` see `batch_of_bars`; it is refused with feature values, which have a column for it.
    """
    if not body:
        raise BadInputError("the body is empty", "send a CSV or parquet file: curl --data-binary @FILE")
    if body[:4] == b"PAR1":
        file = open_parquet(body)
        values = _facts_of_values(file.schema_arrow.names, facts, announced)
        if values is not None:
            return _batch_of_features(read_parquet(file, body, values, LARGEST_GROWTH * max_body), values)
    else:
        values = _facts_of_values(csv_columns(body), facts, announced)
        if values is not None:
            return _batch_of_features(read_csv(body, values), values)
    try:
        bars = read_bars(Content.of_bytes(body), facts.ticker, lambda: exchange_timezone(facts.exchange))
    except DataError as error:  # its hint names settings of params.yaml, which callers over HTTP do not have
        hint = f"send bars (date, {', '.join(COLUMNS)}) or rows with {bounded(list(facts.inputs), 50)}"
        raise DataError(error.message, hint) from None
    return batch_of_bars(bars.rename_axis("session").sort_index(), facts, announced)


def _facts_of_values(names: Sequence[str], facts: FeatureFacts, announced: float | None) -> FeatureFacts | None:
    """The facts with those inputs that a file of feature values has: all, or all but the widths; None: it is no such.

    Raises:
        BadInputError: the file has all columns but the announced dividend; or the request gives it beside the file.
    """
    missing = set(facts.needed) - set(names)
    if missing == {ANNOUNCED} and len(facts.needed) > 1:
        raise BadInputError(f"the upload lacks the column {ANNOUNCED}", DIVIDEND_HINT)
    if missing:
        return None
    if announced is not None:
        raise BadInputError("announced_dividend belongs to bars", f"rows of feature values have a column {ANNOUNCED}")
    return facts if set(facts.inputs) <= set(names) else replace(facts, inputs=facts.needed, levels=())


def _batch_of_features(features: FeatureRows, facts: FeatureFacts) -> PostedRows:
    return PostedRows(features.rows, features.sessions, [], np.empty(0), facts.levels)


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
