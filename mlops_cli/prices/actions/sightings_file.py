"""The file of a ticker's sightings: CSV, one line per sighting, only ever added to."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import get_args

from mlops_cli.errors import DataError
from mlops_cli.prices.actions.dividends import Kind, Sighting
from mlops_cli.system.files import write_text

COLUMNS = ("ex_date", "amount", "kind", "currency", "estimated", "announced", "seen", "source",
    "close_session", "close")  # fmt: skip


def dividends_file(folder: Path, ticker: str) -> Path:
    """Where a branch's price folder keeps the sightings of a ticker."""
    return folder / f"{ticker}.dividends.csv"


def read_sightings(path: Path) -> list[Sighting] | None:
    """The sightings in the order in which they were added; None if there is no file: no dividends are known.

    Raises:
        DataError: the file is damaged; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}", f"remove {path} and run: mlops ingest") from error
    rows = csv.DictReader(io.StringIO(text))
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise DataError(f"{path}:1: not the columns {', '.join(COLUMNS)}", f"remove {path} and run: mlops ingest")
    return [_sighting(row, path, number) for number, row in enumerate(rows, start=2)]


def write_sightings(path: Path, sightings: Iterable[Sighting]) -> None:
    """Write all sightings of a ticker, whole or not at all."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for sighting in sightings:
        values = {
            **vars(sighting),
            "estimated": "yes" if sighting.estimated else "",
            "amount": repr(sighting.amount),
            "close": repr(sighting.close),
        }
        rows.writerow("" if values[name] is None else values[name] for name in COLUMNS)
    write_text(path, text.getvalue())


def _sighting(row: dict[str, str], path: Path, number: int) -> Sighting:
    try:
        if row["kind"] not in get_args(Kind):
            raise ValueError(f"kind is {row['kind']!r}")
        return Sighting(
            ex_date=date.fromisoformat(row["ex_date"]),
            amount=float(row["amount"]),
            close_session=date.fromisoformat(row["close_session"]),
            close=float(row["close"]),
            source=row["source"],
            seen=date.fromisoformat(row["seen"]),
            announced=date.fromisoformat(row["announced"]) if row["announced"] else None,
            kind="special" if row["kind"] == "special" else "cash",
            estimated=row["estimated"] == "yes",
            currency=row["currency"] or None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}:{number}: damaged: {error}", f"remove {path} and run: mlops ingest") from error
