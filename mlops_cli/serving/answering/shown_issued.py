"""Issued forecasts in the form of those that are computed, and whether they would be made in the same way now."""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import NamedTuple

import numpy as np

from mlops_cli.features.column_names import WIDEST
from mlops_cli.features.row_hash import row_hash
from mlops_cli.serving.answering.latest_rows import LatestRow
from mlops_cli.serving.catalog.catalog import ModelKey, ServedModel
from mlops_cli.serving.contract.issued_forecasts import IssuedForecast
from mlops_cli.serving.contract.messages import Age, Answer, Forecast, ForecastBasis, ServedVersion, Superseded

SAME = 1e-6
"""Relative difference of closes that is rounding."""


class RowHashes:
    """Hashes of the newest rows. They are kept as long as a row and the version that reads it stay the same."""

    def __init__(self) -> None:
        self._hashes: dict[ModelKey, tuple[LatestRow, ServedVersion, str]] = {}

    def of(self, key: ModelKey, row: LatestRow, version: ServedVersion) -> str:
        """The hash of a row as this version sees it; empty if the row lacks a column."""
        known = self._hashes.get(key)
        if known is None or known[0] is not row or known[1] is not version:
            known = self._hashes[key] = row, version, _hash(row, version)
        return known[2]


def _hash(row: LatestRow, version: ServedVersion) -> str:
    values = dict(zip(row.columns, row.values[0], strict=True))
    values = dict.fromkeys(version.widths, np.float32(WIDEST)) | values
    if any(name not in values for name in version.inputs):
        return ""
    numbers = np.array([values[name] for name in version.inputs], np.float32)
    return row_hash(version.inputs, row.session, row.target_session, numbers)


def why_superseded(model: ServedModel, issued: IssuedForecast, row: LatestRow, hashes: RowHashes) -> Superseded | None:
    """Why a forecast computed now would be another one than the one that was issued; None if it would not."""
    version = model.default
    if version is None or version.version != issued.version:
        return "retrained"
    if abs(row.last_close / issued.last_close - 1.0) > SAME or hashes.of(model.key, row, version) != issued.row_hash:
        return "restated"
    return None


def levels_of(model: ServedModel, issued: IssuedForecast) -> tuple[float, ...]:
    """The levels of the version that issued a forecast; those that the forecast has, if the version is gone."""
    version = model.version(issued.version)
    return tuple(issued.intervals) if version is None else version.levels


def seconds_since(issued: IssuedForecast, now: datetime) -> float:
    """How long ago a forecast was issued; 0 for one of the future, by a clock that was set back."""
    return max(0.0, (now - issued.issued_at).total_seconds())


class IssuedContext(NamedTuple):
    """When an issued forecast is shown: the session that it was made on, the age of its data, and the time."""

    session: date
    age: Age
    now: datetime
    superseded: Superseded | None


def issued_forecast(model: ServedModel, issued: IssuedForecast, shown: IssuedContext) -> Forecast:
    """A forecast as it was issued."""
    dividend = issued.announced_dividend
    return Forecast(
        model=model.name,
        ticker=issued.ticker,
        team=issued.team,
        session=shown.session,
        target_session=issued.target_session,
        last_close=issued.last_close,
        predicted_close=issued.predicted_close,
        log_return=issued.log_return,
        answered_by=model.name,
        version=issued.version,
        rung="full",
        age=seconds_since(issued, shown.now),
        verdict=model.verdicts.get(issued.version),
        announced_dividend=dividend,
        ex_date=issued.target_session if dividend else None,
        dividend_source="project" if dividend else None,
        expected_total_return=math.log((issued.predicted_close + dividend) / issued.last_close),
        intervals={f"{level:g}": issued.intervals.get(level) for level in levels_of(model, issued)},
        source="journal",
        issued_at=issued.issued_at,
        superseded=shown.superseded,
        data_age_sessions=shown.age.sessions,
        stale=shown.age.stale,
    )


def issued_basis(issued: IssuedForecast, session: date, levels: tuple[float, ...]) -> ForecastBasis:
    """What an issued forecast was made on. The width of a level without an interval is `WIDEST`, of others 0."""
    return ForecastBasis(
        ticker=issued.ticker,
        team=issued.team,
        session=session,
        target_session=issued.target_session,
        last_close=issued.last_close,
        announced_dividend=issued.announced_dividend,
        dividend_source="project" if issued.announced_dividend else None,
        widths={level: 0.0 if level in issued.intervals else WIDEST for level in levels},
    )


def issued_answer(model: ServedModel, issued: IssuedForecast, levels: tuple[float, ...], now: datetime) -> Answer:
    """An issued forecast as the answer to a row, of which ensembles take the average."""
    last = issued.last_close
    bounds: list[float] = []
    for level in levels:
        prices = issued.intervals.get(level)
        bounds += (-WIDEST, WIDEST) if prices is None else (math.log(price / last) for price in prices)
    return Answer(
        model=model.name,
        answered_by=model.name,
        version=issued.version,
        log_return=np.array([issued.log_return], np.float32),
        raw_log_return=np.array([math.log(issued.raw_predicted_close / last)], np.float32),
        rung="full",
        age=seconds_since(issued, now),
        verdict=model.verdicts.get(issued.version),
        interval=np.array([bounds], np.float32) if levels else None,
    )
