"""Writes the forecasts of a table's rows as lines of CSV or NDJSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from mlops_cli.features.column_names import WIDEST
from mlops_cli.serving.contract.messages import Answer
from mlops_cli.serving.uploads.posted_rows import PostedRows

NDJSON = "application/x-ndjson"


def written(batch: PostedRows, answer: Answer, start: int, kind: str) -> bytes:
    """The answer to the rows of `batch` from `start` on, as CSV or NDJSON; the first CSV lines have the header."""
    columns = _columns(batch, answer, start)
    rows = zip(*columns.values(), strict=True)
    if kind == NDJSON:
        return b"".join(orjson.dumps(dict(zip(columns, row, strict=True))) + b"\n" for row in rows)
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    return "\n".join([*([",".join(columns)] if start == 0 else []), *lines, ""]).encode()


def _columns(batch: PostedRows, answer: Answer, start: int) -> dict[str, list[Any]]:
    part = slice(start, start + len(answer.log_return))
    closes = batch.closes[part]
    columns: dict[str, list[Any]] = {}
    if batch.sessions:
        columns["session"] = batch.sessions[part]
    if len(closes):
        columns["target_session"] = batch.target_sessions[part]
        columns["last_close"] = closes.tolist()
        columns["predicted_close"] = (closes * np.exp(answer.log_return.astype(np.float64))).tolist()
    # through text, which has the digits of a float32; a float64 of it would show more
    columns["log_return"] = [float(str(value)) for value in answer.log_return]
    columns["raw_log_return"] = [float(str(value)) for value in answer.raw_log_return]
    columns["version"] = [answer.version] * len(answer.log_return)
    columns["rung"] = [answer.rung] * len(answer.log_return)
    if len(closes):
        columns["announced_dividend"] = batch.dividends[part].tolist()
    return columns | _bounds(batch, answer, part)


def _bounds(batch: PostedRows, answer: Answer, part: slice) -> dict[str, list[Any]]:
    """Lower and upper bound of each level: prices, or log returns for feature values; None for an unknown interval."""
    if answer.interval is None or answer.interval.shape[1] != 2 * len(batch.levels):
        return {}
    bounds, suffix = answer.interval.astype(np.float64), "_log_return"
    if len(batch.closes):
        bounds, suffix = batch.closes[part, None] * np.exp(bounds), ""
    columns: dict[str, list[Any]] = {}
    for place, level in enumerate(batch.levels):
        known = (batch.widths[part, place] < WIDEST).tolist()
        for column, side in enumerate(("lower", "upper"), start=2 * place):
            values = bounds[:, column].tolist()
            columns[f"{side}_{level:g}{suffix}"] = [
                value if is_known else None for value, is_known in zip(values, known, strict=True)
            ]
    return columns
