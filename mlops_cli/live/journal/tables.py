"""The tables of the journal, and the rows that its records are stored in.

Rows are only ever added: triggers refuse every UPDATE and DELETE, and an INSERT that would replace a row (SQLite runs
no delete trigger for INSERT OR REPLACE). They protect from mistakes, not from somebody who drops them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime
from typing import Any

from mlops_cli.live.journal.records import Actual, Forecast, IssuedForecast, Key, PriceInterval, Settled

FORMAT = 1
KIND = "journal of forecasts"
KEY = ("session", "branch", "model")
FORECAST = tuple(field.name for field in fields(Forecast))
ACTUAL = ("actual_close", "table_close", "units", "settled_at", "restatements")
COLUMNS = (*FORECAST, "issued_at", *ACTUAL)
"""The columns of a forecast with its newest actual, as `SELECT_FORECASTS` gives them."""
_DATES = ("session", "target_session", "previous_session")

_TABLES = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE forecasts(
        session TEXT NOT NULL, branch TEXT NOT NULL, model TEXT NOT NULL, team TEXT NOT NULL, ticker TEXT NOT NULL,
        exchange TEXT NOT NULL, version TEXT NOT NULL, target_session TEXT NOT NULL CHECK(target_session > session),
        target_closes_at TEXT NOT NULL,
        last_close REAL NOT NULL CHECK(last_close > 0), log_return REAL NOT NULL,
        predicted_close REAL NOT NULL CHECK(predicted_close > 0),
        raw_predicted_close REAL NOT NULL CHECK(raw_predicted_close > 0),
        drift_predicted_close REAL NOT NULL CHECK(drift_predicted_close > 0),
        base_predicted_close REAL NOT NULL CHECK(base_predicted_close > 0),
        announced_dividend REAL NOT NULL CHECK(announced_dividend >= 0), shrinkage REAL NOT NULL,
        intervals TEXT NOT NULL, previous_session TEXT, previous_close REAL, row_hash TEXT NOT NULL,
        issued_at TEXT NOT NULL,
        PRIMARY KEY(session, branch, model)) WITHOUT ROWID""",
    "CREATE INDEX forecasts_of_model ON forecasts(model, branch, session)",
    "CREATE INDEX forecasts_of_ticker ON forecasts(ticker, session)",
    """CREATE TABLE actuals(
        session TEXT NOT NULL, branch TEXT NOT NULL, model TEXT NOT NULL, restatements INTEGER NOT NULL,
        actual_close REAL NOT NULL CHECK(actual_close > 0), table_close REAL NOT NULL CHECK(table_close > 0),
        units REAL NOT NULL CHECK(units > 0), settled_at TEXT NOT NULL,
        PRIMARY KEY(session, branch, model, restatements),
        FOREIGN KEY(session, branch, model) REFERENCES forecasts(session, branch, model)) WITHOUT ROWID""",
)


def _guards(table: str, key: Sequence[str]) -> Iterator[str]:
    same = " AND ".join(f"{column} = NEW.{column}" for column in key)
    refusal = f"SELECT RAISE(ABORT, 'rows of {table} are never changed')"
    for event in ("UPDATE", "DELETE"):
        yield f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} BEGIN {refusal}; END"
    exists = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"
    yield f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {exists} BEGIN {refusal}; END"


SCHEMA = (*_TABLES, *_guards("forecasts", KEY), *_guards("actuals", (*KEY, "restatements")))
"""Statements that create an empty journal."""

_ON_KEY = " AND ".join(f"a.{column} = f.{column}" for column in KEY)
SELECT_FORECASTS = f"""
SELECT {", ".join(f"f.{name}" for name in (*FORECAST, "issued_at"))}, {", ".join(f"a.{name}" for name in ACTUAL)}
FROM forecasts f LEFT JOIN actuals a ON {_ON_KEY} AND a.restatements =
    (SELECT max(n.restatements) FROM actuals n WHERE {_ON_KEY.replace("a.", "n.")})
"""
IS_OPEN = f"NOT EXISTS (SELECT 1 FROM actuals a WHERE {_ON_KEY})"
"""The condition that a forecast `f` has no actual."""


def forecast_row(forecast: Forecast, issued_at: datetime) -> dict[str, Any]:
    """The row of `forecasts`."""
    return {**dict(zip(FORECAST, forecast_values(forecast), strict=True)), "issued_at": issued_at.isoformat()}


def forecast_values(forecast: Forecast) -> tuple[Any, ...]:
    """The values of the columns FORECAST."""
    return tuple(_stored(getattr(forecast, name)) for name in FORECAST)


def actual_row(actual: Actual, settled_at: datetime, restatements: int) -> dict[str, Any]:
    """The row of `actuals`; `restatements`: how many rows the forecast has already."""
    return {
        **{name: _stored(value) for name, value in zip(KEY, actual.key, strict=True)},
        "restatements": restatements,
        "actual_close": actual.actual_close,
        "table_close": actual.table_close,
        "units": actual.units,
        "settled_at": settled_at.isoformat(),
    }


def issued_of(row: Sequence[Any]) -> IssuedForecast:
    """The record of a row of COLUMNS."""
    values = dict(zip(COLUMNS, row, strict=True))
    issued_at = datetime.fromisoformat(values.pop("issued_at"))
    values["target_closes_at"] = datetime.fromisoformat(values["target_closes_at"])
    close, table_close, units, settled_at, restatements = (values.pop(name) for name in ACTUAL)
    values |= {name: date.fromisoformat(values[name]) for name in _DATES if values[name] is not None}
    forecast = Forecast(**{**values, "intervals": intervals_of(values["intervals"])})
    if settled_at is None:
        return IssuedForecast(forecast, issued_at, None)
    actual = Actual(forecast.key, close, table_close, units)
    return IssuedForecast(forecast, issued_at, Settled(actual, datetime.fromisoformat(settled_at), restatements))


def intervals_of(text: str) -> tuple[PriceInterval, ...]:
    """The intervals of the column `intervals`."""
    return tuple(PriceInterval(*values) for values in json.loads(text))


def key_of(session: str, branch: str, model: str) -> Key:
    """The key of a row."""
    return Key(date.fromisoformat(session), branch, model)


def _stored(value: Any) -> Any:
    match value:
        case datetime():
            return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
        case date():
            return value.isoformat()
        case tuple():
            return json.dumps(value)
        case _:
            return value
