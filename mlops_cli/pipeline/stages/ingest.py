"""Stage `ingest`: the prices of a branch's tickers, fetched, cleaned and stored as checked tables."""

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
from mlops_cli.pipeline.stages.stage import Progress, StageReport, branch_lock, chosen, close_stage, read_note
from mlops_cli.pipeline.stages.tables import read_table, remove_other_tables, write_table
from mlops_cli.prices.actions.dividends import new_sightings, restated
from mlops_cli.prices.actions.implied_dividends import implied_dividends
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings, write_sightings
from mlops_cli.prices.sources.source import FetchRequest, PriceSource, RawBars, SourceFailure
from mlops_cli.prices.table import Provenance, assemble
from mlops_cli.system.files import write_text
from mlops_cli.system.parallel import each

BATCH = 5  # tickers per call of a local source, which lists its folder in every call


def ingest(
    project: Project, branch: Branch, source: PriceSource, progress: Progress, only: str | None = None
) -> StageReport:
    """Fetch, clean and store the prices of a branch's tickers.

    When a ticker fails, an earlier table of it stays as it is, and its models are reported as failed.

    Raises:
        ServiceError, ConfigError: an error that concerns all tickers, such as an address that does not answer.
    """
    folder = project.prices(branch.name)
    report = StageReport("ingest", branch.name)
    models = chosen(branch.models, only)
    exchanges = {spec.ticker: spec.exchange for spec in models}
    with branch_lock(project, branch.name, progress):
        progress.start(f"ingest {branch.name}", len(exchanges))
        for result in _fetch_all(folder, branch, source, exchanges, progress):
            _report(result, [spec.name for spec in models if spec.ticker == result.ticker], report)
            progress.done()
        if only is None:
            remove_other_tables(folder, set(exchanges))
        close_stage(folder, report, branch, only)
    return report


@dataclass(frozen=True)
class _Result:
    """The result of one ticker: whether its table changed, or why there is none."""

    ticker: str
    changed: bool = False
    failure: SourceFailure | None = None


def _fetch_all(
    folder: Path, branch: Branch, source: PriceSource, exchanges: Mapping[str, str], progress: Progress
) -> Iterator[_Result]:
    """Fetch all tickers: from a service in one call, from local files in several processes."""
    if not source.local:
        yield from _fetch(folder, branch.period, source, exchanges, progress.doing)
        return
    batches = [dict(batch) for batch in batched(exchanges.items(), BATCH)]
    for batch, results in zip(
        batches, each(partial(_batch, folder, branch.period, source), batches, BATCH), strict=True
    ):
        if isinstance(results, MlopsError):
            raise results  # an error of a single ticker is a _Result
        progress.doing(f"{source.name}: {', '.join(batch)}")
        yield from results


def _batch(folder: Path, period: Period, source: PriceSource, exchanges: Mapping[str, str]) -> list[_Result]:
    return list(_fetch(folder, period, source, exchanges, lambda _: None))


def _fetch(
    folder: Path, period: Period, source: PriceSource, exchanges: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[_Result]:
    stored = {ticker: table for ticker in exchanges if (table := _stored(folder, ticker)) is not None}
    request = FetchRequest(tuple(exchanges), period.start, period.end, stored, exchanges)
    for answer in source.fetch(request, say):
        if isinstance(answer, SourceFailure):
            yield _Result(answer.ticker, failure=answer)
            continue
        try:
            yield _Result(answer.ticker, _save(folder, answer, request))
        except MlopsError as error:
            yield _Result(answer.ticker, failure=SourceFailure(answer.ticker, str(error), error.exit_code))


def _stored(folder: Path, ticker: str) -> pd.DataFrame | None:
    try:
        return read_table(folder, ticker)
    except DataError:
        return None  # damaged: fetched again from the start, and replaced


def _report(result: _Result, names: list[str], report: StageReport) -> None:
    """Report the result of a ticker for the models of these names, which forecast it."""
    if result.failure is not None:
        for name in names:
            report.refuse(name, result.failure.reason, result.failure.exit_code)
    else:
        (report.done if result.changed else report.unchanged).extend(names)


def _save(folder: Path, bars: RawBars, request: FetchRequest) -> bool:
    """Store fetched prices; whether the stored table changed."""
    table, provenance = assemble(
        bars,
        request.stored.get(bars.ticker),
        request.exchanges[bars.ticker],
        request.start,
        request.end,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    dividends = _note_dividends(folder, bars.ticker, table, provenance)
    notes = folder / f"{bars.ticker}.json"
    before = read_note(notes)
    if before is not None and bars.ticker in request.stored:
        if not bars.replaces_all:
            provenance = provenance.carrying(Provenance.from_dict(before))
        # writing the same prices with a new fetch time would make DVC run all later stages again
        if {**before, "fetched_at": ""} == {**provenance.to_dict(), "fetched_at": ""}:
            return dividends
    write_table(folder, bars.ticker, table)
    write_text(notes, json.dumps(provenance.to_dict(), indent=2) + "\n")
    return True


def _note_dividends(folder: Path, ticker: str, table: pd.DataFrame, provenance: Provenance) -> bool:
    """Add what the prices say about dividends to the sightings of the ticker; whether there was anything new.

    Prices without an adjusted close say nothing: there is no file then.
    """
    path = dividends_file(folder, ticker)
    if any(repair.rule == "missing_adj_close" for repair in provenance.repairs):
        return False
    found = read_sightings(path)
    stored = None if found is None else restated(found, table["close"])
    seen = datetime.fromisoformat(provenance.fetched_at).date()
    new = new_sightings(stored or [], implied_dividends(table, seen))
    if stored is not None and not new:
        return False
    write_sightings(path, [*(found or []), *new])
    return True
