"""The file of a ticker's sightings: CSV, one line per sighting, only ever added to."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import get_args

from mlops_cli.errors import DataError
from mlops_cli.prices.actions.dividends import Kind, Sighting
from mlops_cli.system.files import write_text

COLUMNS = ("ex_date", "amount", "kind", "currency", "estimated", "announced", "taken", "seen", "source",
    "close_session", "close")  # fmt: skip
_FLAGS = ("estimated", "taken")


def dividends_file(folder: Path, ticker: str) -> Path:
    """Where a branch's price folder keeps the sightings of a ticker."""
    return folder / f"{ticker}.dividends.csv"


def read_sightings(path: Path) -> list[Sighting] | None:
    """The sightings in the order in which they were added; None if there is no file: no dividends are known.

    An empty list means: a source was asked, and listed none.

    Raises:
        DataError: the file is damaged; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, f"cannot be read: {error}") from error
    rows = csv.DictReader(io.StringIO(text))
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise _damaged(f"{path}:1", f"not the columns {', '.join(COLUMNS)}")
    return [_sighting(row, f"{path}:{number}") for number, row in enumerate(rows, start=2)]


def _damaged(where: Path | str, why: str) -> DataError:
    hint = "restore the file (dvc checkout), or remove it and run mlops ingest, which starts a new one"
    return DataError(f"{where}: {why}", hint)


def write_sightings(path: Path, sightings: Iterable[Sighting]) -> None:
    """Write all sightings of a ticker, whole or not at all."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for sighting in sightings:
        values = {
            **vars(sighting),
            **{name: "yes" if getattr(sighting, name) else "" for name in _FLAGS},
            "amount": repr(sighting.amount),
            "close": repr(sighting.close),
        }
        rows.writerow("" if values[name] is None else values[name] for name in COLUMNS)
    write_text(path, text.getvalue())


def _sighting(row: dict[str, str], where: str) -> Sighting:
    try:
        sighting = _parsed(row)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(where, f"damaged: {error}") from error
    if sighting.announced is not None and sighting.announced > sighting.seen:
        raise _damaged(where, f"announced on {sighting.announced}, which is after it was seen on {sighting.seen}")
    return sighting


def _parsed(row: dict[str, str]) -> Sighting:
    """A row as a sighting; a `ValueError`, `KeyError` or `TypeError` if it is none."""
    if row["kind"] not in get_args(Kind):
        raise ValueError(f"kind is {row['kind']!r}")
    amount, close = float(row["amount"]), float(row["close"])
    if not (0 <= amount < math.inf and 0 < close < math.inf):
        raise ValueError(f"amount {row['amount']}, close {row['close']}")
    return Sighting(
        ex_date=date.fromisoformat(row["ex_date"]),
        amount=amount,
        close_session=date.fromisoformat(row["close_session"]),
        close=close,
        source=row["source"],
        seen=date.fromisoformat(row["seen"]),
        announced=date.fromisoformat(row["announced"]) if row["announced"] else None,
        kind="special" if row["kind"] == "special" else "cash",
        estimated=row["estimated"] == "yes",
        currency=row["currency"] or None,
        taken=row["taken"] == "yes",
    )
