"""Stage `ingest` with sources that give, fail, and go on: what is stored, and what is reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.errors import ServiceError
from mlops_cli.pipeline.stages.ingest import BATCH, IngestSources, ingest
from mlops_cli.pipeline.stages.stage import StageReport
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure
from tests.fakes.branches import Progress, branch_of
from tests.fakes.price_tables import random_prices
from tests.fakes.train_jobs import model_spec

A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")
BLUE = model_spec("blue-a", team="blue", ticker="A")


@dataclass
class Shelf:
    """Price source port: gives the tables that were put into it; remembers what it was asked for."""

    tables: dict[str, pd.DataFrame]
    local: bool = False
    replaces_all: bool = True
    refuse: Exception | None = None
    name: str = "shelf"
    requests: list[FetchRequest] = field(default_factory=list)

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        self.requests.append(request)
        if self.refuse is not None:
            raise self.refuse
        for ticker in request.tickers:
            progress(f"shelf: {ticker}")
            if ticker in self.tables:
                yield RawBars(ticker, self.tables[ticker], "the shelf", self.replaces_all)
            else:
                yield SourceFailure(ticker, f"{ticker}: not on the shelf", 4)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf({"A": random_prices(60, 0), "B": random_prices(60, 1)})


def run(project: Project, shelf: Shelf, *models: object, only: str | None = None) -> StageReport:
    return ingest(project, branch_of(*models), IngestSources(shelf), Progress(), only)


def note(project: Project, ticker: str) -> dict:
    return json.loads((project.prices("main") / f"{ticker}.json").read_text())


def test_a_ticker_is_fetched_once_for_all_of_its_models(project: Project, shelf: Shelf) -> None:
    report = run(project, shelf, A, B, BLUE)
    (request,) = shelf.requests
    assert list(request.tickers) == ["A", "B"]
    assert request.exchanges == {"A": "XNYS", "B": "XNYS"}
    assert sorted(report.done) == ["blue-a", "red-a", "red-b"]
    assert len(read_table(project.prices("main"), "A")) == 60
    assert note(project, "A")["origin"] == "the shelf"


def test_the_same_prices_again_change_no_file(project: Project, shelf: Shelf) -> None:
    run(project, shelf, A)
    before = {path: path.read_bytes() for path in project.prices("main").iterdir()}
    report = run(project, shelf, A)
    assert (report.done, report.unchanged) == ([], ["red-a"])
    assert {path: path.read_bytes() for path in project.prices("main").iterdir()} == before


def test_the_source_is_told_what_is_stored_and_may_give_only_what_is_new(project: Project, shelf: Shelf) -> None:
    whole = random_prices(60, 0)
    shelf.tables["A"] = whole.iloc[:50]
    run(project, shelf, A)
    assert shelf.requests[0].stored == {}
    shelf.tables["A"], shelf.replaces_all = whole.iloc[50:], False
    report = run(project, shelf, A)
    assert len(shelf.requests[1].stored["A"]) == 50
    assert report.done == ["red-a"]
    pd.testing.assert_frame_equal(read_table(project.prices("main"), "A"), whole, check_freq=False)


def test_a_damaged_table_is_fetched_again_from_the_start(project: Project, shelf: Shelf) -> None:
    run(project, shelf, A)
    (project.prices("main") / "A.parquet").write_bytes(b"PAR1 no more")
    assert run(project, shelf, A).done == ["red-a"]
    assert shelf.requests[1].stored == {}
    assert len(read_table(project.prices("main"), "A")) == 60


def test_a_ticker_that_fails_keeps_its_table_and_its_models_are_reported(project: Project, shelf: Shelf) -> None:
    run(project, shelf, A, B, BLUE)
    del shelf.tables["A"]
    report = run(project, shelf, A, B, BLUE)
    assert {failure.model for failure in report.failures} == {"red-a", "blue-a"}
    assert {failure.reason for failure in report.failures} == {"A: not on the shelf"}
    assert (report.unchanged, report.exit_code) == (["red-b"], 9)
    assert len(read_table(project.prices("main"), "A")) == 60


def test_prices_that_cannot_be_used_fail_that_ticker_alone(project: Project, shelf: Shelf) -> None:
    shelf.tables["A"] = shelf.tables["A"].assign(close=-1.0)
    report = run(project, shelf, A, B)
    assert report.done == ["red-b"]
    (failure,) = report.failures
    assert (failure.model, failure.stage, failure.exit_code) == ("red-a", "ingest", 4)
    assert read_table(project.prices("main"), "A") is None


@pytest.mark.parametrize("local", [False, True])
def test_what_stops_the_source_stops_the_stage(project: Project, shelf: Shelf, local: bool) -> None:
    shelf.local, shelf.refuse = local, ServiceError("the shelf has fallen", "put it up")
    with pytest.raises(ServiceError, match="has fallen"):
        run(project, shelf, A, B)


def test_local_files_are_read_in_batches_with_the_same_result(project: Project, shelf: Shelf) -> None:
    specs = [model_spec(f"red-t{number}", ticker=f"T{number}") for number in range(BATCH + 2)]
    shelf.local = True
    shelf.tables = {spec.ticker: random_prices(40, seed) for seed, spec in enumerate(specs)}
    del shelf.tables["T3"]
    report = run(project, shelf, *specs)
    assert report.done == [spec.name for spec in specs if spec.ticker != "T3"]
    assert [failure.model for failure in report.failures] == ["red-t3"]


def test_tickers_that_left_the_branch_are_removed_but_not_by_a_part(project: Project, shelf: Shelf) -> None:
    run(project, shelf, A, B)
    run(project, shelf, A, B, only="red-a")
    assert (project.prices("main") / "B.parquet").is_file()
    run(project, shelf, A)
    names = {path.name for path in project.prices("main").iterdir()}
    assert names == {"A.json", "A.parquet", "A.dividends.csv", "B.dividends.csv"}  # what was seen stays


def test_a_part_asks_for_its_own_tickers_and_keeps_other_failures(project: Project, shelf: Shelf) -> None:
    del shelf.tables["B"]
    run(project, shelf, A, B)
    report = run(project, shelf, A, B, only="red-a")
    assert list(shelf.requests[-1].tickers) == ["A"]
    assert report.failures == []
    noted = json.loads((project.prices("main") / "failures.json").read_text())
    assert [item["model"] for item in noted] == ["red-b"]
