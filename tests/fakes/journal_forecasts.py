"""Forecasts as a journal holds them, for any test that issues or settles them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from mlops_cli.live.journal.frames import journal_frame
from mlops_cli.live.journal.journal import ALL, Journal, Selection
from mlops_cli.live.journal.records import Forecast, PriceInterval
from mlops_cli.live.journal.settle import Settlement, settle

SESSION, TARGET = date(2024, 1, 4), date(2024, 1, 5)
EVENING = datetime(2024, 1, 4, 22, 30, tzinfo=UTC)
"""An hour and a half after the close of SESSION in New York."""


def a_forecast(**changes: Any) -> Forecast:
    """A forecast of red's model of AAPL; `log_return` follows from the prices unless it is given."""
    last, target = changes.get("last_close", 100.0), changes.get("target_session", TARGET)
    values: dict[str, Any] = {
        "session": SESSION,
        "branch": "main",
        "model": "red-aapl",
        "team": "red",
        "ticker": "AAPL",
        "exchange": "XNYS",
        "version": "0123456789ab",
        "target_session": TARGET,
        "target_closes_at": datetime(target.year, target.month, target.day, 21, tzinfo=UTC),  # in winter
        "last_close": 100.0,
        "predicted_close": last * 1.01,
        "raw_predicted_close": last * 1.02,
        "drift_predicted_close": last * 1.0004,
        "base_predicted_close": last,
        "announced_dividend": 0.0,
        "shrinkage": 0.5,
        "intervals": (
            PriceInterval(80.0, last * 0.98, last * 1.04, 0.02),
            PriceInterval(95.0, last * 0.96, last * 1.06, None),
        ),
        "previous_session": date(2024, 1, 3),
        "previous_close": last * 0.99,
        "row_hash": "a" * 64,
        **changes,
    }
    if "log_return" not in values:
        values["log_return"] = math.log(values["predicted_close"] / values["last_close"])
    return Forecast(**values)


def a_fleet(models: int, session: date = SESSION) -> list[Forecast]:
    """Forecasts of many models on one session, each with prices of its own."""
    return [
        a_forecast(
            model=f"red-t{number:04d}",
            ticker=f"T{number:04d}",
            session=session,
            target_session=session + timedelta(days=1),
            previous_session=session - timedelta(days=1),
            last_close=20.0 + number / 7,
        )
        for number in range(models)
    ]


def closes_of(tables: Mapping[str, Mapping[str, float]]) -> Callable[[str, str], pd.Series | None]:
    """Price tables by ticker, {ISO date: close}; the same in every branch."""

    def closes(_: str, ticker: str) -> pd.Series | None:
        if ticker not in tables:
            return None
        table = tables[ticker]
        return pd.Series(list(table.values()), pd.DatetimeIndex(list(table), name="session"), dtype="float64")

    return closes


def frame_in(journal: Journal, selection: Selection = ALL) -> pd.DataFrame:
    """The journal as a table."""
    return journal_frame(journal.batches(selection))


def settled(journal: Journal, tables: Mapping[str, Mapping[str, float]], now: datetime = EVENING) -> Settlement:
    """Settle a whole journal from these price tables."""
    settlement = settle(frame_in(journal), closes_of(tables))
    assert journal.add_actuals(settlement.actuals, now) == len(settlement.actuals)
    return settlement


def issue_all(journal: Journal, forecasts: Iterable[Forecast], now: datetime = EVENING) -> None:
    """Issue forecasts of which none may be in the journal yet."""
    batch = list(forecasts)
    report = journal.issue(batch, now)
    assert (report.issued, report.refused) == (len(batch), ())
