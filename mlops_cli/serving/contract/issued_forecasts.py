"""Port `IssuedForecasts`: where a server finds the forecasts that were issued and written down."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple, Protocol


class IssuedKey(NamedTuple):
    """What an issued forecast is known by: a model makes one forecast on one session."""

    branch: str
    model: str
    session: date


@dataclass(frozen=True, slots=True)
class IssuedForecast:
    """A forecast as it was issued. Prices are in the units of the day of issue.

    Attributes:
        version: of the model that made it.
        row_hash: `features.row_hash` of the feature row that it was made from.
        issued_at: when, in UTC.
        intervals: by level, lower and upper bound of the close, for the levels that have an interval.
    """

    team: str
    ticker: str
    version: str
    row_hash: str
    issued_at: datetime
    target_session: date
    last_close: float
    predicted_close: float
    raw_predicted_close: float
    log_return: float
    announced_dividend: float
    intervals: Mapping[float, tuple[float, float]]


Issued = Mapping[IssuedKey, IssuedForecast]


class IssuedForecasts(Protocol):
    """The forecasts that were issued. Threads may call both methods at the same time."""

    def state(self) -> Hashable:
        """Something that changes whenever there may be other forecasts. It takes microseconds, and never fails."""
        ...

    def made_on(self, sessions: Collection[date]) -> Issued:
        """The forecasts that were made on these sessions; none if nothing was ever issued. It may take a while.

        Raises:
            MlopsError: they cannot be read; the message says why.
        """
        ...
