"""The files of a replay's report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlops_cli.live.journal.export import write_export
from mlops_cli.live.replay.replay import Replayed
from mlops_cli.live.replay.result import issued_forecasts
from mlops_cli.system.files import write_whole
from mlops_cli.trading.ledger.opening import read_ledger
from mlops_cli.trading.results.competition_report import report_files

RESULT = "live.json"
LEDGER_COLUMNS = {
    "decisions": ("session", "ticker", "action", "lots", "wanted_lots", "bound", "forecast_bps", "cost_bps",
        "current_weight", "target_weight", "price", "client_order_id", "reasons"),
    "fills": ("time", "ticker", "side", "qty", "price"),
}  # fmt: skip
"""What is written of the ledgers: not the broker's ids, which are random."""


def write_report(replayed: Replayed, result: Mapping[str, Any]) -> Path:
    """Write the result, the forecasts, what happened, and the teams' books; returns the folder.

    The same result gives the same bytes.

    Raises:
        ConfigError: the journal cannot be written.
    """
    folder = replayed.home.real.report(f"live-{replayed.home.start}")
    for name, content in {**_ledger_files(replayed), **_files(result)}.items():
        write_whole(folder / name, partial(Path.write_bytes, data=content))
    write_export(issued_forecasts(replayed), folder / "forecasts.csv")
    return folder


def _files(result: Mapping[str, Any]) -> dict[str, bytes]:
    files = {
        RESULT: (json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode(),
        "events.csv": _csv(("session", "kind", "model", "text"), result["events"]),
        "sessions.csv": _csv(list(result["sessions"][0]), result["sessions"]),
    }
    return files | (report_files(result["competition"]) if result["competition"] else {})


def _ledger_files(replayed: Replayed) -> dict[str, bytes]:
    """Decisions and fills of all teams."""
    rows = list(_ledger_rows(replayed))
    return {
        f"{table}.csv": _csv(("team", *columns), [row for name, row in rows if name == table])
        for table, columns in LEDGER_COLUMNS.items()
    }


def _ledger_rows(replayed: Replayed) -> Iterator[tuple[str, dict[str, Any]]]:
    for team in replayed.rules:
        path = replayed.home.project.ledger(team)
        if not path.is_file():
            continue
        with read_ledger(path) as ledger:
            for table, columns in LEDGER_COLUMNS.items():
                rows = [tuple(_text(row[name]) for name in columns) for row in ledger.rows(table)]
                for row in sorted(rows):  # fills of one moment are in the order of their random ids
                    yield table, {"team": team, **dict(zip(columns, row, strict=True))}


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list) else "" if value is None else str(value)


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
