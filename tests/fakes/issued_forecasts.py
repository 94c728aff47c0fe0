"""Forecasts as a server gets them from a journal."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from mlops_cli.serving.contract.issued_forecasts import IssuedForecast


def an_issued_forecast(**changes: Any) -> IssuedForecast:
    """A forecast of red's model of ACME, one up from 100."""
    values: dict[str, Any] = {
        "team": "red",
        "ticker": "ACME",
        "version": "1",
        "row_hash": "a" * 64,
        "issued_at": datetime(2024, 1, 4, 22, 30, tzinfo=UTC),
        "target_session": date(2024, 1, 5),
        "last_close": 100.0,
        "predicted_close": 101.0,
        "raw_predicted_close": 102.0,
        "log_return": 0.009950330853168092,
        "announced_dividend": 0.0,
        "intervals": {80.0: (98.0, 104.0)},
        **changes,
    }
    return IssuedForecast(**values)
