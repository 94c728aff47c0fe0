"""Stage `ingest`: prices of every ticker of a branch into checked tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schema import ModelSpec
from mlops_cli.errors import DataError, MlopsError
from mlops_cli.pipeline.stage import (
    ItemFailure,
    Progress,
    StageReport,
    branch_lock,
    chosen,
    close_stage,
    read_note,
    write_text,
)
from mlops_cli.pipeline.tables import read_table, write_table
from mlops_cli.prices.source import FetchRequest, PriceSource, RawBars, SourceFailure
from mlops_cli.prices.table import Provenance, assemble


def ingest(
    project: Project, branch: Branch, source: PriceSource, progress: Progress, only: str | None = None
) -> StageReport:
    """Fetch, clean and save the prices of a branch's tickers.

    A ticker that fails keeps the table it had, if it had one; its models are listed as failed all the same.

    Raises:
        ServiceError, ConfigError: what stops every ticker.
    """
    folder = project.prices(branch.name)
    report = StageReport("ingest", branch.name)
    models = chosen(branch.models, only)
    exchanges = {spec.ticker: spec.exchange for spec in models}
    with branch_lock(project, branch.name, progress):
        progress.start(f"ingest {branch.name}", len(exchanges))
        stored = {ticker: table for ticker in exchanges if (table := _stored(folder, ticker)) is not None}
        request = FetchRequest(tuple(exchanges), branch.period.start, branch.period.end, stored, exchanges)
        for answer in source.fetch(request, progress.doing):
            of_ticker = [spec for spec in models if spec.ticker == answer.ticker]
            _take(folder, answer, request, branch, of_ticker, report)
            progress.done()
        if only is None:
            _prune(folder, set(exchanges))
        close_stage(folder, report, branch, only)
    return report


def _stored(folder: Path, ticker: str) -> pd.DataFrame | None:
    try:
        return read_table(folder, ticker)
    except DataError:
        return None  # damaged: fetched anew as a whole, and written over


def _take(
    folder: Path,
    answer: RawBars | SourceFailure,
    request: FetchRequest,
    branch: Branch,
    models: list[ModelSpec],
    report: StageReport,
) -> None:
    names = [spec.name for spec in models]
    if isinstance(answer, SourceFailure):
        report.failures += [ItemFailure(name, report.stage, answer.reason, answer.exit_code) for name in names]
        return
    try:
        changed = _save(folder, answer, request, branch)
    except MlopsError as error:
        for name in names:
            report.fail(name, error)
        return
    (report.done if changed else report.unchanged).extend(names)


def _save(folder: Path, bars: RawBars, request: FetchRequest, branch: Branch) -> bool:
    table, provenance = assemble(
        bars,
        request.stored.get(bars.ticker),
        request.exchanges[bars.ticker],
        branch.period.start,
        branch.period.end,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    notes = folder / f"{bars.ticker}.json"
    before = read_note(notes)
    if before is not None and bars.ticker in request.stored:
        if not bars.replaces_all:
            provenance = provenance.carrying(Provenance.from_dict(before))
        # the same prices under a new fetch time would make DVC run everything after this stage again
        if {**before, "fetched_at": ""} == {**provenance.to_dict(), "fetched_at": ""}:
            return False
    write_table(folder, bars.ticker, table)
    write_text(notes, json.dumps(provenance.to_dict(), indent=2) + "\n")
    return True


def _prune(folder: Path, tickers: set[str]) -> None:
    for path in folder.glob("*.parquet"):
        if path.stem not in tickers:
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)


def last_session(project: Project, branch: str) -> pd.Timestamp | None:
    """The newest session of any ticker of a branch, None where nothing was ingested."""
    notes = [path for path in project.prices(branch).glob("*.json") if path.name != "failures.json"]
    lasts = [pd.Timestamp(json.loads(path.read_text())["last"]) for path in notes]
    return max(lasts, default=None)
