"""The checked price table of one ticker, how it is put together, and where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.repair import MOST_EXAMPLES
from mlops_cli.prices.cleaning.rules import PRICE_COLUMNS, Repair, clean
from mlops_cli.prices.sources.source import RawBars

COLUMNS = PRICE_COLUMNS


@dataclass(frozen=True)
class Provenance:
    """Where a price table came from and what cleaning did to it.

    Attributes:
        ticker: as asked for.
        origin: file, service or package.
        exchange: calendar code of its sessions.
        fetched_at: ISO time, as given by whoever fetched.
        first: ISO date of the first session.
        last: ISO date of the last session.
        sessions: number of rows.
        repairs: what the cleaning rules found from the period's start on.
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
        """As plain JSON values; `from_dict` reads them back."""
        return {**asdict(self), "repairs": [{**asdict(r), "examples": list(r.examples)} for r in self.repairs]}

    def carrying(self, earlier: Provenance) -> Provenance:
        """With the repairs of the table that new sessions were appended to; for answers that do not replace it.

        Cleaning sees the stored part already repaired, so what was done to it then is known to `earlier` only. Missing
        sessions are found again in the whole table and are not added up.
        """
        merged = {repair.rule: repair for repair in earlier.repairs if repair.rule != "missing_sessions"}
        for new in self.repairs:
            old = merged.get(new.rule, Repair(new.rule, 0))
            merged[new.rule] = Repair(new.rule, old.count + new.count, (old.examples + new.examples)[:MOST_EXAMPLES])
        return replace(self, repairs=tuple(merged.values()))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """The inverse of `to_dict`.

        Raises:
            DataError: keys are missing or unknown.
        """
        try:
            repairs = tuple(Repair(r["rule"], int(r["count"]), tuple(r["examples"])) for r in values["repairs"])
            return cls(**{**values, "repairs": repairs})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"a provenance record is damaged: {error}", "fetch the prices again: mlops ingest"
            ) from error


def content_hash(frame: pd.DataFrame) -> str:
    """Hash of index, column names and values, stable over runs, machines and file formats.

    Equal are: any time unit of the same dates, 0.0 and -0.0, any NaN. Names of index and columns axes do not count.

    Returns:
        64 hex digits (SHA-256).
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
        numbers = values.to_numpy(dtype="<f8", na_value=np.nan) + 0.0  # turns -0.0 into 0.0
        numbers[np.isnan(numbers)] = np.nan
        return bytes(numbers.tobytes())
    return "\x00".join(f"{len(text)}:{text}" for text in values.astype(str)).encode()


def check_table(frame: pd.DataFrame, ticker: str) -> None:
    """Check the contract of a price table.

    Raises:
        DataError: the index is no unique rising tz-naive DatetimeIndex named `session`, the columns are not exactly
            `COLUMNS` in float64, or a price is not finite and > 0, or a volume not finite and >= 0.
    """
    faults = [*_index_faults(frame.index)]
    if tuple(frame.columns) != COLUMNS or any(str(kind) != "float64" for kind in frame.dtypes):
        faults.append(f"columns are {', '.join(f'{n} {t}' for n, t in frame.dtypes.items())}, not {', '.join(COLUMNS)}")
    else:
        values = frame.to_numpy()
        bad = ~np.isfinite(values) | np.column_stack([values[:, :5] <= 0, values[:, 5:] < 0])
        days = [str(day)[:10] for day in frame.index[bad.any(axis=1)]]
        faults += [f"{len(days)} rows hold impossible values: {bounded(days)}"] if days else []
    if faults:
        raise DataError(f"{ticker}: not a price table: {'; '.join(faults)}", "fetch the prices again: mlops ingest")


def _index_faults(index: pd.Index) -> list[str]:
    if not isinstance(index, pd.DatetimeIndex) or index.tz is not None or index.name != "session":
        return [f"index is {index.name} {index.dtype}, not tz-naive sessions"]
    if not (index.is_unique and index.is_monotonic_increasing and (index == index.normalize()).all()):
        return ["sessions are not unique, rising dates"]
    return []


def assemble(
    raw: RawBars,
    stored: pd.DataFrame | None,
    exchange: str,
    start: date | None,
    end: date | None,
    fetched_at: str,
) -> tuple[pd.DataFrame, Provenance]:
    """Clean what a source gave, append it to what is stored, cut out the period and check the result.

    Rows before `start` are cut off first, so that faults in them do no harm; rows after `end` are cut off last, because
    a split in them may have to be taken out of the prices before.

    Args:
        raw: from a `PriceSource`. Where it does not replace everything, its rows are appended to `stored` and win over
            stored rows of the same sessions; the whole is cleaned, so that the seam is checked too.
        stored: the price table on disk, if any.
        exchange: calendar code.
        start: first day wanted, None for all.
        end: last day wanted (included), None for all.
        fetched_at: ISO time for the provenance.

    Returns:
        The price table (see `check_table`) and its provenance.

    Raises:
        DataError: the data is refused, or holds no session of the period.
        ConfigError: the exchange does not exist.
    """
    ticker, frame = raw.ticker, raw.frame
    if not raw.replaces_all and stored is not None and not stored.empty:
        kept = stored if frame.empty else stored[stored.index < pd.DatetimeIndex(frame.index).min()]
        frame = pd.concat([kept, frame]) if not frame.empty else kept
    if frame.empty:
        raise DataError(f"{ticker}: {raw.origin} holds no rows", "check the ticker and the source")
    days = pd.DatetimeIndex(frame.index).tz_localize(None).normalize()
    used = frame[days >= pd.Timestamp(start)] if start else frame
    table, repairs = clean(used, ticker, sessions(exchange, days.min(), days.max()))
    wanted = table.loc[: pd.Timestamp(end)] if end else table
    if wanted.empty:
        raise _nothing_left(raw, days, start, end, repairs)
    table = wanted.rename_axis("session")
    check_table(table, ticker)
    first, last = (str(day.date()) for day in (table.index[0], table.index[-1]))
    digest = content_hash(table)
    return table, Provenance(ticker, raw.origin, exchange, fetched_at, first, last, len(table), repairs, digest)


def _nothing_left(
    raw: RawBars, days: pd.DatetimeIndex, start: date | None, end: date | None, repairs: tuple[Repair, ...]
) -> DataError:
    period = f"between {start or 'the beginning'} and {end or 'the end'}"
    dropped = "".join(f"; {repair.count} rows dropped: {repair.rule}" for repair in repairs)
    held = f"{days.min().date()} to {days.max().date()}"
    return DataError(
        f"{raw.ticker}: no usable session {period}: {raw.origin} holds {held}{dropped}",
        "widen period: in params.yaml, or give other data",
    )
