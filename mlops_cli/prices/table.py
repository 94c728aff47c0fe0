"""The checked price table of one ticker: how it is assembled, and its provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.market.sessions import last_finished_session, sessions
from mlops_cli.prices.cleaning.counts import DIVIDEND_RULES
from mlops_cli.prices.cleaning.repair import MOST_EXAMPLES, Cleaned, noted
from mlops_cli.prices.cleaning.rules import PRICE_COLUMNS, Repair, clean
from mlops_cli.prices.sources.source import RawBars

COLUMNS = PRICE_COLUMNS
_WHOLE_TABLE = DIVIDEND_RULES | {"missing_sessions"}
MOST_UNFINISHED = 10  # rows dated after the last session that has closed; with more, the dates are not to be trusted


@dataclass(frozen=True)
class Provenance:
    """Where a price table came from, and what cleaning repaired.

    Attributes:
        origin: file, service or package.
        exchange: calendar code of its sessions.
        fetched_at: ISO time of the fetch.
        repairs: what the cleaning rules repaired or noted from the period's start on.
        sha256: `content_hash` of the table.
    """

    ticker: str
    origin: str
    exchange: str
    fetched_at: str
    first: str
    last: str
    sessions: int
    repairs: tuple[Repair, ...]
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """The provenance as JSON values; `from_dict` is the inverse."""
        return {**asdict(self), "repairs": [{**asdict(r), "examples": list(r.examples)} for r in self.repairs]}

    def carrying(self, earlier: Provenance) -> Provenance:
        """This provenance plus the repairs of `earlier`, for a table that new sessions were appended to.

        The stored sessions were repaired earlier, so only `earlier` lists their repairs. Missing sessions and
        dividends are looked at in the whole table each time, so their counts are not added up.
        """
        merged = {repair.rule: repair for repair in earlier.repairs if repair.rule not in _WHOLE_TABLE}
        for new in self.repairs:
            old = merged.get(new.rule, Repair(new.rule, 0))
            merged[new.rule] = Repair(new.rule, old.count + new.count, (old.examples + new.examples)[:MOST_EXAMPLES])
        return replace(self, repairs=tuple(merged.values()))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """The inverse of `to_dict`; a `DataError` if a key is missing or unknown."""
        try:
            repairs = tuple(Repair(r["rule"], int(r["count"]), tuple(r["examples"])) for r in values["repairs"])
            return cls(**{**values, "repairs": repairs})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"a provenance record is damaged: {error}", "fetch the prices again: mlops ingest"
            ) from error


def content_hash(frame: pd.DataFrame) -> str:
    """SHA-256 of index, column names and values; the same in every run, on every machine and after any file format.

    The hash does not depend on the time unit of dates, the sign of 0.0, the kind of NaN, or the names of the axes.
    """
    digest = hashlib.sha256()
    for name, values in [("", frame.index.to_series()), *((str(name), frame[name]) for name in frame.columns)]:
        data = _as_bytes(values)
        digest.update(f"{name!r}:{len(values)}:{len(data)};".encode())
        digest.update(data)
    return digest.hexdigest()


def _as_bytes(values: pd.Series) -> bytes:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return pd.DatetimeIndex(values).as_unit("ns").asi8.astype("<i8").tobytes()
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy(dtype="<f8", na_value=np.nan) + 0.0  # -0.0 + 0.0 is 0.0
        numbers[np.isnan(numbers)] = np.nan
        return bytes(numbers.tobytes())
    return "\x00".join(f"{len(text)}:{text}" for text in values.astype(str)).encode()


def check_table(frame: pd.DataFrame, ticker: str) -> None:
    """Check that a frame is a valid price table.

    Raises:
        DataError: the index is not a unique, rising, tz-naive DatetimeIndex named `session`, the columns are not
            exactly `COLUMNS` in float64, a price is not finite and > 0, or a volume is not finite and >= 0.
    """
    faults = [*_index_faults(frame.index)]
    if tuple(frame.columns) != COLUMNS or any(str(kind) != "float64" for kind in frame.dtypes):
        faults.append(f"columns are {', '.join(f'{n} {t}' for n, t in frame.dtypes.items())}, not {', '.join(COLUMNS)}")
    else:
        values = frame.to_numpy()
        bad = ~np.isfinite(values) | np.column_stack([values[:, :5] <= 0, values[:, 5:] < 0])
        days = [str(day)[:10] for day in frame.index[bad.any(axis=1)]]
        faults += [f"{len(days)} rows contain impossible values: {bounded(days)}"] if days else []
    if faults:
        raise DataError(f"{ticker}: not a price table: {'; '.join(faults)}", "fetch the prices again: mlops ingest")


def _index_faults(index: pd.Index) -> list[str]:
    if not isinstance(index, pd.DatetimeIndex) or index.tz is not None or index.name != "session":
        return [f"index is {index.name} {index.dtype}, not tz-naive sessions"]
    if not (index.is_unique and index.is_monotonic_increasing and (index == index.normalize()).all()):
        return ["sessions are not unique, rising dates"]
    return []


class PriceTable(NamedTuple):
    """A table as `check_table` demands it, and where its prices came from."""

    frame: pd.DataFrame
    provenance: Provenance


def assemble(
    raw: RawBars, stored: pd.DataFrame | None, exchange: str, start: date | None, end: date | None, fetched_at: str
) -> PriceTable:
    """Append the bars of a source to the stored ones, clean them, cut out the period and check the result.

    Rows of sessions that had not closed by `fetched_at` are removed first. Rows before `start` are removed before
    cleaning, so that faults in them do no harm. Rows after `end` are removed after cleaning, because the prices before
    a split may have to be divided by it.

    Args:
        raw: from a `PriceSource`. Unless it replaces everything, its rows are appended to `stored` and replace stored
            rows of the same sessions. Everything is cleaned, so that the seam is checked too.
        stored: the price table on disk, if there is one.
        exchange: calendar code.
        start: first day of the period; None for all.
        end: last day of the period (included); None for all.
        fetched_at: ISO time of the fetch; empty if it is unknown, and rows of any day are then accepted.

    Raises:
        DataError: the data is refused, or contains no session of the period.
        ConfigError: the exchange does not exist.
    """
    ticker, frame = raw.ticker, _appended(raw, stored)
    if frame.empty:
        raise DataError(f"{ticker}: {raw.origin} contains no rows", "check the ticker and the source")
    frame, unfinished = _finished(frame, ticker, exchange, fetched_at)
    days = pd.DatetimeIndex(frame.index).tz_localize(None).normalize()
    from_start = frame[days >= pd.Timestamp(start)] if start else frame
    cleaned = clean(from_start, ticker, sessions(exchange, days.min(), days.max()), _checked_until(raw, stored))
    repairs = unfinished + cleaned.repairs
    table = (cleaned.bars.loc[: pd.Timestamp(end)] if end else cleaned.bars).rename_axis("session")
    if table.empty:
        raise _nothing_left(raw, days, start, end, repairs)
    check_table(table, ticker)
    provenance = Provenance(
        ticker=ticker,
        origin=raw.origin,
        exchange=exchange,
        fetched_at=fetched_at,
        first=str(table.index[0].date()),
        last=str(table.index[-1].date()),
        sessions=len(table),
        repairs=repairs,
        sha256=content_hash(table),
    )
    return PriceTable(table, provenance)


def _finished(frame: pd.DataFrame, ticker: str, exchange: str, fetched_at: str) -> Cleaned:
    """The rows of sessions that had closed by then: an unfinished bar is no bar, and nobody knows tomorrow's.

    Raises:
        DataError: more rows are dated later than a calendar or clock explains, or all are: the dates are wrong.
    """
    if not fetched_at:
        return Cleaned(frame)
    newest = last_finished_session(exchange, pd.Timestamp(fetched_at))
    days = pd.DatetimeIndex(frame.index).tz_localize(None).normalize()
    later = days > newest
    count = int(later.sum())
    if count > MOST_UNFINISHED or (count and count == len(frame)):
        raise DataError(
            f"{ticker}: {count} rows are dated after {newest.date()}, the last session that has closed: "
            f"{bounded([str(day.date()) for day in days[later][:99]])}",
            "correct the dates, or say how the file writes them (source.dates), or remove the rows",
        )
    return Cleaned(frame[~later], noted("unfinished_sessions", days[later]))


def _appended(raw: RawBars, stored: pd.DataFrame | None) -> pd.DataFrame:
    """The bars of the source, after those stored bars that they do not replace."""
    if raw.replaces_all or stored is None or stored.empty:
        return raw.frame
    if raw.frame.empty:
        return stored
    return pd.concat([stored[stored.index < pd.DatetimeIndex(raw.frame.index).min()], raw.frame])


def _checked_until(raw: RawBars, stored: pd.DataFrame | None) -> pd.Timestamp | None:
    """The last of the stored sessions that the source's bars are appended to; None if there are none."""
    if raw.replaces_all or stored is None or stored.empty:
        return None
    if raw.frame.empty:
        return pd.Timestamp(stored.index[-1])
    earlier = stored.index[stored.index < pd.DatetimeIndex(raw.frame.index).min()]
    return pd.Timestamp(earlier[-1]) if len(earlier) else None


def _nothing_left(
    raw: RawBars, days: pd.DatetimeIndex, start: date | None, end: date | None, repairs: tuple[Repair, ...]
) -> DataError:
    period = f"between {start or 'the beginning'} and {end or 'the end'}"
    dropped = "".join(f"; {repair.count} rows dropped: {repair.rule}" for repair in repairs)
    available = f"{days.min().date()} to {days.max().date()}"
    return DataError(
        f"{raw.ticker}: no usable session {period}: {raw.origin} contains {available}{dropped}",
        "widen period: in params.yaml, or use other data",
    )
