"""Forecasts of the journal with how old they are, for lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from mlops_cli.errors import ConfigError
from mlops_cli.live.journal.records import IssuedForecast
from mlops_cli.live.journal.staleness import sessions_behind


@dataclass(frozen=True)
class ListedForecast:
    """A forecast of the journal, seen at some time.

    Attributes:
        is_newest: whether it is the newest of its model in the journal.
        is_over: whether the session that it forecasts has closed.
        age: how many sessions its exchange has finished since the one it was made on; None without a calendar.
    """

    issued: IssuedForecast
    is_newest: bool
    is_over: bool
    age: int | None

    @property
    def is_stale(self) -> bool:
        """Whether it is the newest of its model, and made on data older than the last finished session."""
        return self.is_newest and self.is_over

    @property
    def was_late(self) -> bool:
        """Whether the close that it forecasts was known already when it was issued. It is not judged then."""
        return self.issued.forecast.is_stale(self.issued.issued_at)


def listed(
    forecasts: Iterable[IssuedForecast], newest: Iterable[IssuedForecast], now: datetime
) -> Iterator[ListedForecast]:
    """The forecasts as they look at a time.

    Args:
        forecasts: which to list.
        newest: the newest forecast of each model.
        now: the time, in UTC.
    """
    keys = {issued.forecast.key for issued in newest}
    ages: dict[tuple[str, date], int | None] = {}
    for issued in forecasts:
        forecast = issued.forecast
        place = forecast.exchange, forecast.session
        if place not in ages:
            ages[place] = _age(*place, now)
        yield ListedForecast(issued, forecast.key in keys, forecast.is_stale(now), ages[place])


def as_json(forecast: ListedForecast) -> dict[str, Any]:
    """A forecast as JSON values: all that was issued, and what is known of it now."""
    values = asdict(forecast.issued.forecast)
    values["intervals"] = [interval._asdict() for interval in forecast.issued.forecast.intervals]
    settled = forecast.issued.settled
    return values | {
        "issued_at": forecast.issued.issued_at,
        "actual_close": None if settled is None else settled.actual.actual_close,
        "settled_at": None if settled is None else settled.settled_at,
        "restatements": None if settled is None else settled.restatements,
        "stale": forecast.is_stale,
        "data_age_sessions": forecast.age,
        "stale_when_issued": forecast.was_late,
    }


def _age(exchange: str, session: date, now: datetime) -> int | None:
    try:
        return sessions_behind(exchange, session, now)
    except ConfigError:
        return None  # a calendar that this version of exchange_calendars does not have
