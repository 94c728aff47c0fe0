"""Stage `ingest`: prices of every ticker of a branch into checked tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Period
from mlops_cli.errors import DataError, MlopsError
from mlops_cli.pipeline.stages.stage import (
    Progress,
    StageReport,
    branch_lock,
    chosen,
    close_stage,
    read_note,
)
from mlops_cli.pipeline.stages.tables import read_table, write_table
from mlops_cli.prices.sources.source import FetchRequest, PriceSource, RawBars, SourceFailure
from mlops_cli.prices.table import Provenance, assemble
from mlops_cli.system.files import write_text
from mlops_cli.system.parallel import each

BATCH = 5  # tickers at a time: a local source looks into its folder once for each batch


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
        for taken in _taken(folder, branch, source, exchanges, progress):
            _report(taken, [spec.name for spec in models if spec.ticker == taken.ticker], report)
            progress.done()
        if only is None:
            _prune(folder, set(exchanges))
        close_stage(folder, report, branch, only)
    return report


@dataclass(frozen=True)
class _Taken:
    """What became of a ticker: whether its table changed, or why there is none."""

    ticker: str
    changed: bool = False
    failure: SourceFailure | None = None


def _taken(
    folder: Path, branch: Branch, source: PriceSource, exchanges: Mapping[str, str], progress: Progress
) -> Iterator[_Taken]:
    """All tickers, one after another from a service, which says what goes together; files in several processes."""
    if not source.local:
        yield from _fetch(folder, branch.period, source, exchanges, progress.doing)
        return
    batches = [dict(some) for some in batched(exchanges.items(), BATCH)]
    for batch, results in zip(
        batches, each(partial(_batch, folder, branch.period, source), batches, BATCH), strict=True
    ):
        if isinstance(results, MlopsError):
            raise results  # what stops one ticker is a result: this stops them all
        progress.doing(f"{source.name}: {', '.join(batch)}")
        yield from results


def _batch(folder: Path, period: Period, source: PriceSource, exchanges: Mapping[str, str]) -> list[_Taken]:
    return list(_fetch(folder, period, source, exchanges, lambda _: None))


def _fetch(
    folder: Path, period: Period, source: PriceSource, exchanges: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[_Taken]:
    stored = {ticker: table for ticker in exchanges if (table := _stored(folder, ticker)) is not None}
    request = FetchRequest(tuple(exchanges), period.start, period.end, stored, exchanges)
    for answer in source.fetch(request, say):
        if isinstance(answer, SourceFailure):
            yield _Taken(answer.ticker, failure=answer)
            continue
        try:
            yield _Taken(answer.ticker, _save(folder, answer, request))
        except MlopsError as error:
            yield _Taken(answer.ticker, failure=SourceFailure(answer.ticker, str(error), error.exit_code))


def _stored(folder: Path, ticker: str) -> pd.DataFrame | None:
    try:
        return read_table(folder, ticker)
    except DataError:
        return None  # damaged: fetched anew as a whole, and written over


def _report(taken: _Taken, names: list[str], report: StageReport) -> None:
    if taken.failure is not None:
        for name in names:
            report.refuse(name, taken.failure.reason, taken.failure.exit_code)
    else:
        (report.done if taken.changed else report.unchanged).extend(names)


def _save(folder: Path, bars: RawBars, request: FetchRequest) -> bool:
    table, provenance = assemble(
        bars,
        request.stored.get(bars.ticker),
        request.exchanges[bars.ticker],
        request.start,
        request.end,
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
