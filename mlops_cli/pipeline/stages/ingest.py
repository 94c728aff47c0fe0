"""Stage `ingest`: the prices of a branch's tickers, fetched, cleaned and stored as checked tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED
from mlops_cli.config.schemas.project import Period
from mlops_cli.errors import DataError, MlopsError
from mlops_cli.pipeline.stages.ingest_dividends import FetchedPrices, note_dividends
from mlops_cli.pipeline.stages.stage import Only, Progress, StageReport, branch_lock, chosen, close_stage, read_note
from mlops_cli.pipeline.stages.tables import read_table, remove_other_tables, write_table
from mlops_cli.prices.actions.action_source import ActionRequest, ActionSource, Listing, Listings
from mlops_cli.prices.sources.source import FetchRequest, PriceSource, RawBars, SourceFailure
from mlops_cli.prices.table import Provenance, assemble
from mlops_cli.system.files import write_text
from mlops_cli.system.parallel import each

BATCH = 5  # tickers per call of a local source, which lists its folder in every call


@dataclass(frozen=True)
class IngestSources:
    """Where prices and dividends come from.

    Attributes:
        prices: source of prices.
        actions: source of dividends besides the prices; None if the prices are all.
        now: when they are fetched, with a time zone; None: by the clock of this machine.
    """

    prices: PriceSource
    actions: ActionSource | None = None
    now: datetime | None = None


def ingest(
    project: Project, branch: Branch, sources: IngestSources, progress: Progress, only: Only = None
) -> StageReport:
    """Fetch, clean and store the prices of a branch's tickers, and note their dividends.

    When a ticker fails, an earlier table of it stays as it is, and its models are reported as failed. If the source of
    dividends is not available, the dividends that were seen before stay, and the table of repairs says so.

    Args:
        project: where the results go.
        branch: whose tickers.
        sources: of prices and dividends.
        progress: shows what is done.
        only: the models whose tickers are fetched.

    Raises:
        ServiceError, ConfigError: an error that concerns all tickers, such as an address that does not answer.
    """
    folder = project.prices(branch.name)
    now = sources.now or datetime.now(UTC)
    report = StageReport("ingest", branch.name)
    models = chosen(branch.models, only)
    exchanges = {spec.ticker: spec.exchange for spec in models}
    with branch_lock(project, branch.name, progress):
        progress.start(f"ingest {branch.name}", len(exchanges))
        listings = _listings(sources.actions, ActionRequest(exchanges, now, branch.period.start), progress)
        if only is None:  # else the notes are about tickers of other models
            report.notes.extend(listings.notes)
        fetcher = _Fetcher(folder, branch.period, sources.prices, exchanges, listings.by_ticker, now)
        for result in fetcher.fetch_all(progress):
            _report(result, [spec.name for spec in models if spec.ticker == result.ticker], report)
            progress.done()
        if only is None and branch.name != REQUESTED:  # a job may just be adding a model there
            remove_other_tables(folder, set(exchanges))
        close_stage(folder, report, branch, only)
    return report


def _listings(actions: ActionSource | None, request: ActionRequest, progress: Progress) -> Listings:
    """What the source of dividends lists; nothing without such a source."""
    if actions is None:
        return Listings({})
    return actions.fetch(request, progress.doing)


@dataclass(frozen=True)
class _Result:
    """The result of one ticker: whether its table or its dividends changed, or why there is no table."""

    ticker: str
    changed: bool = False
    failure: SourceFailure | None = None


@dataclass(frozen=True)
class _Fetcher:
    """Fetches and stores the prices of tickers with their dividends.

    Attributes:
        listings: by ticker, of the source of dividends.
    """

    folder: Path
    period: Period
    source: PriceSource
    exchanges: Mapping[str, str]
    listings: Mapping[str, Listing | SourceFailure]
    now: datetime

    def fetch_all(self, progress: Progress) -> Iterator[_Result]:
        """Fetch all tickers: from a service in one call, from local files in several processes."""
        if not self.source.local:
            yield from self.fetch(progress.doing)
            return
        batches = [self._part(tickers) for tickers in batched(self.exchanges, BATCH)]
        for batch, results in zip(batches, each(_fetch_batch, batches, BATCH), strict=True):
            if isinstance(results, MlopsError):
                raise results  # an error of a single ticker is a _Result
            progress.doing(f"{self.source.name}: {', '.join(batch.exchanges)}")
            yield from results

    def _part(self, tickers: tuple[str, ...]) -> _Fetcher:
        """The same for some of the tickers, small enough to be handed to another process."""
        listings = {ticker: self.listings[ticker] for ticker in tickers if ticker in self.listings}
        return replace(self, exchanges={ticker: self.exchanges[ticker] for ticker in tickers}, listings=listings)

    def fetch(self, say: Callable[[str], None]) -> Iterator[_Result]:
        """Fetch all tickers in this process, and tell each step."""
        tickers = tuple(self.exchanges)
        stored = {ticker: table for ticker in tickers if (table := _stored(self.folder, ticker)) is not None}
        request = FetchRequest(tickers, self.period.start, self.period.end, stored, self.exchanges)
        for answer in self.source.fetch(request, say):
            if isinstance(answer, SourceFailure):
                yield _Result(answer.ticker, failure=answer)
                continue
            try:
                yield _Result(answer.ticker, self._save(answer, request))
            except MlopsError as error:
                yield _Result(answer.ticker, failure=SourceFailure(answer.ticker, str(error), error.exit_code))

    def _save(self, bars: RawBars, request: FetchRequest) -> bool:
        """Store fetched prices and new dividends; whether anything that is stored changed."""
        ticker, stored = bars.ticker, request.stored.get(bars.ticker)
        table, provenance = assemble(
            bars,
            stored,
            request.exchanges[ticker],
            request.start,
            request.end,
            self.now.isoformat(timespec="seconds"),
        )
        notes = self.folder / f"{ticker}.json"
        before = read_note(notes)
        if before is not None and stored is not None and not bars.replaces_all:
            provenance = provenance.carrying(Provenance.from_dict(before))
        fetched = FetchedPrices(bars, table, provenance, stored, self.source.name)
        dividends = note_dividends(self.folder, fetched, self.listings.get(ticker))
        provenance = replace(provenance, repairs=provenance.repairs + dividends.repairs)
        # writing the same prices with a new fetch time would make DVC run all later stages again
        same = before is not None and {**before, "fetched_at": ""} == {**provenance.to_dict(), "fetched_at": ""}
        if same and stored is not None:
            return dividends.changed
        write_table(self.folder, ticker, table)
        write_text(notes, json.dumps(provenance.to_dict(), indent=2) + "\n")
        return True


def _fetch_batch(fetcher: _Fetcher) -> list[_Result]:
    return list(fetcher.fetch(lambda _: None))


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
