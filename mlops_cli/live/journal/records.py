"""What the journal holds: forecasts as they were issued, and the closes that followed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

_HASH = re.compile(r"[0-9a-f]{64}")


class Key(NamedTuple):
    """What a forecast is known by: one model makes one forecast on one session."""

    session: date
    branch: str
    model: str

    def __str__(self) -> str:
        return f"{self.model}:{self.session}"


class PriceInterval(NamedTuple):
    """A prediction interval of the close.

    Attributes:
        level: in percent.
        lower: lowest close.
        upper: highest close.
        constant: half width in log return of the interval of constant width to compare with; None if unknown.
    """

    level: float
    lower: float
    upper: float
    constant: float | None


@dataclass(frozen=True)
class Forecast:
    """One forecast, as a model made it. Prices are in the units of its session: no later split changes them.

    Attributes:
        session: the session after whose close it was made.
        branch: the branch of the model; two branches may have models of one name.
        exchange: calendar code.
        version: of the model.
        target_session: the session whose close it forecasts.
        target_closes_at: when that session closes. From then on the forecast is stale.
        last_close: close of `session`, the naive forecast.
        log_return: log(predicted_close / last_close).
        predicted_close: the forecast, after shrinkage.
        raw_predicted_close: before shrinkage.
        drift_predicted_close: last close grown by the mean log return of the training rows.
        base_predicted_close: the base of `models.base`; the last close if the model has none.
        announced_dividend: the dividend of the target session that the base subtracted, else 0.
        shrinkage: lambda of the model.
        intervals: by rising level; a level without enough sessions is left out.
        previous_session: the session of the price table before `session`, None if there was none, ...
        previous_close: ... and its close. Together with `last_close` it shows later whether the prices were split.
        row_hash: `making.row_hashes` of the feature row that it was made from.
    """

    session: date
    branch: str
    model: str
    team: str
    ticker: str
    exchange: str
    version: str
    target_session: date
    target_closes_at: datetime
    last_close: float
    log_return: float
    predicted_close: float
    raw_predicted_close: float
    drift_predicted_close: float
    base_predicted_close: float
    announced_dividend: float
    shrinkage: float
    intervals: tuple[PriceInterval, ...]
    previous_session: date | None
    previous_close: float | None
    row_hash: str

    @property
    def key(self) -> Key:
        """What it is known by."""
        return Key(self.session, self.branch, self.model)

    def is_stale(self, now: datetime) -> bool:
        """Whether it is older than the last finished session of its exchange: its target session has closed."""
        return now >= self.target_closes_at

    @property
    def faults(self) -> list[str]:
        """Why it cannot be journaled; empty if nothing is wrong."""
        return [fault for fault, is_so in _broken(self).items() if is_so]


@dataclass(frozen=True)
class Actual:
    """The close that followed a forecast, as the price table had it on some day.

    Attributes:
        key: the forecast.
        actual_close: close of its target session, in the units of the forecast's session.
        table_close: the same close as the price table had it.
        units: price of the table per price of the forecast: 0.25 after a split 4:1 since the forecast was made.
    """

    key: Key
    actual_close: float
    table_close: float
    units: float


class Settled(NamedTuple):
    """An actual as it stands in the journal; `restatements`: how many earlier ones it replaces."""

    actual: Actual
    settled_at: datetime
    restatements: int


@dataclass(frozen=True)
class IssuedForecast:
    """A forecast as it stands in the journal, with its newest actual, if there is one."""

    forecast: Forecast
    issued_at: datetime
    settled: Settled | None


@dataclass(frozen=True)
class Refusal:
    """A forecast that was not journaled, and why."""

    key: Key
    reason: str


@dataclass(frozen=True)
class IssueReport:
    """What became of a batch of forecasts.

    Attributes:
        issued: how many are new in the journal.
        unchanged: how many were in it already, with the same content.
        refused: those that are in it with other content, or are not usable.
    """

    issued: int
    unchanged: int
    refused: tuple[Refusal, ...]


def _broken(forecast: Forecast) -> dict[str, bool]:
    """By description, whether a forecast has this fault."""
    names = (forecast.branch, forecast.model, forecast.team, forecast.ticker, forecast.exchange, forecast.version)
    bad = [name for name, price in _prices(forecast).items() if not (math.isfinite(price) and price > 0)]
    dividend = forecast.announced_dividend
    levels = [interval.level for interval in forecast.intervals]
    return {
        "branch, model, team, ticker, exchange or version is empty": not all(names),
        f"its target {forecast.target_session} is not after its session": forecast.target_session <= forecast.session,
        "target_closes_at has no time zone": forecast.target_closes_at.tzinfo is None,
        "row_hash is no sha256": not _HASH.fullmatch(forecast.row_hash),
        "previous_session without previous_close, or the other way round": (
            (forecast.previous_session is None) != (forecast.previous_close is None)
        ),
        f"not finite and > 0: {', '.join(bad)}": bool(bad),
        "announced_dividend is not finite and >= 0": not (math.isfinite(dividend) and dividend >= 0),
        "log_return or shrinkage is not finite": not all(map(math.isfinite, (forecast.log_return, forecast.shrinkage))),
        "a broken interval": levels != sorted({*levels}) or not all(map(_is_usable, forecast.intervals)),
    }


def _prices(forecast: Forecast) -> dict[str, float]:
    names = ["last_close", "predicted_close", "raw_predicted_close", "drift_predicted_close", "base_predicted_close"]
    if forecast.previous_close is not None:
        names.append("previous_close")
    return {name: getattr(forecast, name) for name in names}


def _is_usable(interval: PriceInterval) -> bool:
    constant = 0.0 if interval.constant is None else interval.constant
    in_order = interval.lower <= interval.upper
    return in_order and all(map(math.isfinite, interval[:3])) and 0 <= constant < math.inf and 0 < interval.level < 100
