"""How much of a scenario the data fill: a verdict on a part of it must say so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pandas as pd

from mlops_cli.market.sessions import sessions

FILLED = 0.95
"""From this share of the sessions on, a scenario counts as filled: a halt of a few days is no lack of data."""
MOST_NAMED = 20


def coverage(forecasts: pd.DataFrame, exchanges: Mapping[str, str], start: date, end: date) -> dict[str, Any]:
    """Count the sessions of a scenario, and those for which there are forecasts.

    Args:
        forecasts: as `evaluation.frame` describes; columns `model` and `target_session` are used.
        exchanges: calendar code of each model.
        start: first day of the scenario.
        end: the day after its last.

    Returns:
        `sessions` (of all exchanges of the models together), `replayed` (those that any model forecast),
        `last_session` (ISO), `filled` (whether every model has at least 95 % of its exchange's sessions) and
        `short_models` (replayed sessions by model, of at most 20 models that have fewer; the shortest first).

    Raises:
        ConfigError: a calendar does not exist.
    """
    last_day = pd.Timestamp(end) - pd.Timedelta(days=1)
    calendars = {exchange: sessions(exchange, start, last_day) for exchange in sorted(set(exchanges.values()))}
    due = {exchange: len(days) for exchange, days in calendars.items()}
    counts = forecasts.groupby("model", observed=True)["target_session"].nunique()
    short = {str(name): int(n) for name, n in counts.items() if n < FILLED * due[exchanges[str(name)]]}
    ordered = sorted(short.items(), key=lambda item: (item[1], item[0]))
    return {
        "sessions": len({day for days in calendars.values() for day in days}),
        "replayed": int(forecasts["target_session"].nunique()),
        "last_session": str(forecasts["target_session"].max().date()),
        "filled": not short,
        "short_models": dict(ordered[:MOST_NAMED]),
    }
