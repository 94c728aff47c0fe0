"""Stage `ingest` and dividends: the files after a first fetch, a later one, faults, and a source that is down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.errors import DataError, ServiceError
from mlops_cli.market.sessions import sessions
from mlops_cli.pipeline.stages.ingest import IngestSources, ingest
from mlops_cli.pipeline.stages.stage import StageReport
from mlops_cli.pipeline.stages.stored_dividends import stored_dividends
from mlops_cli.prices.actions.action_source import ActionRequest, ListedDividend, Listing, Listings
from mlops_cli.prices.actions.dividends import Sighting
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure
from tests.fakes.branches import Progress, branch_of
from tests.fakes.dividend_prices import paying_prices
from tests.fakes.train_jobs import model_spec

A = model_spec("red-a", ticker="A")
PAYING = paying_prices({"2024-02-08": 0.5, "2024-05-09": 0.75})
COMING = sessions("XNYS", date.today() + timedelta(days=28), date.today() + timedelta(days=40))[0].date()


@dataclass
class Shelf:
    """Price source port: gives the frame that was put into it."""

    frame: pd.DataFrame
    replaces_all: bool = True
    name: str = "shelf"
    local: bool = True

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        for ticker in request.tickers:
            yield RawBars(ticker, self.frame, "the shelf", self.replaces_all)


@dataclass
class Announcer:
    """Action source port: gives what was put into it; remembers what it was asked for."""

    answer: Listing | SourceFailure
    notes: tuple[str, ...] = ()
    name: str = "announcer"
    requests: list[ActionRequest] = field(default_factory=list)

    def fetch(self, request: ActionRequest, progress: Callable[[str], None]) -> Listings:
        self.requests.append(request)
        return Listings({"A": self.answer}, self.notes)


def announcer(*dividends: ListedDividend, **more: object) -> Announcer:
    return Announcer(Listing("A", "announcer", dividends), **more)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def run(project: Project, frame: pd.DataFrame = PAYING, actions: Announcer | None = None, **more) -> StageReport:
    return ingest(project, branch_of(A), IngestSources(Shelf(frame, **more), actions), Progress())


def seen(project: Project) -> list[Sighting] | None:
    return read_sightings(dividends_file(project.prices("main"), "A"))


def repairs(project: Project) -> dict[str, list[str]]:
    note = json.loads((project.prices("main") / "A.json").read_text())
    return {repair["rule"]: repair["examples"] for repair in note["repairs"]}


class TestPricesAlone:
    def test_adjusted_closes_imply_the_history(self, project: Project) -> None:
        run(project)
        assert [(str(s.ex_date), s.source, s.taken) for s in seen(project) or []] == [
            ("2024-02-08", "implied", True), ("2024-05-09", "implied", True),
        ]  # fmt: skip

    def test_dividends_in_the_bars_count_before_what_is_implied(self, project: Project) -> None:
        frame = PAYING.assign(dividends=0.0)
        frame.loc["2024-02-08", "dividends"], frame.loc["2024-05-09", "dividends"] = 0.5, 0.75
        run(project, frame)
        assert [(s.amount, s.source) for s in seen(project) or []] == [(0.5, "shelf bars"), (0.75, "shelf bars")]

    def test_without_adjusted_closes_and_dividends_there_is_no_file(self, project: Project) -> None:
        run(project, PAYING.assign(adj_close=float("nan")))
        assert seen(project) is None
        assert "missing_adj_close" in repairs(project)

    def test_bars_that_list_dividends_need_no_adjusted_closes(self, project: Project) -> None:
        frame = PAYING.assign(adj_close=float("nan"), dividends=0.0)
        frame.loc["2024-02-08", "dividends"] = 0.5
        run(project, frame)
        assert [(str(s.ex_date), s.amount) for s in seen(project) or []] == [("2024-02-08", 0.5)]

    def test_prices_that_pay_nothing_are_known_to_pay_nothing(self, project: Project) -> None:
        run(project, paying_prices({}))
        assert seen(project) == []

    def test_the_same_prices_again_change_no_file(self, project: Project) -> None:
        run(project)
        before = {path: path.read_bytes() for path in project.prices("main").iterdir()}
        assert run(project).unchanged == ["red-a"]
        assert {path: path.read_bytes() for path in project.prices("main").iterdir()} == before

    def test_more_of_the_past_adds_its_dividends_as_history(self, project: Project) -> None:
        run(project, PAYING.loc["2024-02-20":])
        assert run(project).done == ["red-a"]
        assert [(str(s.ex_date), s.taken) for s in seen(project) or []] == [("2024-05-09", True), ("2024-02-08", True)]

    def test_a_dividend_that_turns_up_in_stored_sessions_is_not_taken_as_announced(self, project: Project) -> None:
        run(project, paying_prices({"2024-05-09": 0.75}))
        run(project)
        assert [(str(s.ex_date), s.taken) for s in seen(project) or []] == [("2024-05-09", True), ("2024-02-08", False)]

    def test_a_split_restates_what_was_seen(self, project: Project) -> None:
        run(project)
        halves = PAYING.assign(**{name: PAYING[name] / 2 for name in ("open", "high", "low", "close", "adj_close")})
        run(project, halves)
        (listed,) = stored_dividends(project, [branch_of(A)], [])
        assert [round(dividend.sighting.amount, 6) for dividend in listed.dividends] == [0.25, 0.375]
        assert len(seen(project) or []) == 2

    def test_a_damaged_file_of_sightings_refuses_the_ticker(self, project: Project) -> None:
        run(project)
        dividends_file(project.prices("main"), "A").write_text("damaged")
        (failure,) = run(project).failures
        assert failure.exit_code == DataError.exit_code
        assert "A.dividends.csv:1" in failure.reason


class TestListings:
    def test_a_coming_dividend_is_added_to_the_implied_history(self, project: Project) -> None:
        run(project, actions=announcer(ListedDividend(COMING, 0.8, "here")))
        assert [(s.ex_date, s.taken) for s in seen(project) or []][-1] == (COMING, False)
        assert len(seen(project) or []) == 3

    def test_the_source_is_asked_for_the_tickers_and_their_exchanges(self, project: Project) -> None:
        actions = announcer()
        run(project, actions=actions)
        assert actions.requests[0].exchanges == {"A": "XNYS"}

    def test_a_list_of_none_is_known_without_adjusted_closes(self, project: Project) -> None:
        run(project, PAYING.assign(adj_close=float("nan")), announcer())
        assert seen(project) == []

    def test_a_disputed_dividend_is_named_in_the_table_of_repairs(self, project: Project) -> None:
        listed = [ListedDividend(date(2024, 2, 8), 0.9, "A.csv:2"), ListedDividend(date(2024, 5, 9), 0.75, "A.csv:3")]
        run(project, actions=announcer(*listed))
        assert repairs(project) == {"dividend_disputed": ["2024-02-08 0.9 (A.csv:2), adjusted closes 0.5"]}
        assert [str(s.ex_date) for s in seen(project) or []] == ["2024-05-09"]

    def test_a_finding_that_is_gone_leaves_the_table(self, project: Project) -> None:
        run(project, actions=announcer(ListedDividend(date(2024, 5, 9), 0.9, "A.csv:2")))
        assert "dividend_disputed" in repairs(project)
        run(project, actions=announcer(ListedDividend(date(2024, 5, 9), 0.75, "A.csv:2")))
        assert repairs(project) == {}

    def test_findings_of_appended_prices_are_not_added_up(self, project: Project) -> None:
        wrong = announcer(ListedDividend(date(2024, 2, 8), 0.9, "A.csv:2"))
        run(project, PAYING.loc[:"2024-03-01"], wrong)
        run(project, PAYING.loc["2024-03-04":"2024-04-30"], wrong, replaces_all=False)
        note = json.loads((project.prices("main") / "A.json").read_text())
        assert [(repair["rule"], repair["count"]) for repair in note["repairs"]] == [("dividend_disputed", 1)]

    def test_notes_are_told_unless_only_some_models_are_asked_for(self, project: Project) -> None:
        actions = announcer(notes=("XYZ is unknown",))
        assert run(project, actions=actions).notes == ["XYZ is unknown"]
        assert ingest(project, branch_of(A), IngestSources(Shelf(PAYING), actions), Progress(), "red-a").notes == []


class TestFailures:
    def test_a_source_that_is_down_leaves_what_was_seen_and_is_named(self, project: Project) -> None:
        coming = ListedDividend(COMING, 0.8, "here")
        run(project, actions=announcer(coming))
        before = seen(project)
        report = run(project, actions=Announcer(SourceFailure("A", "the announcer is down", ServiceError.exit_code)))
        assert report.failures == []
        assert seen(project) == before
        assert repairs(project) == {"dividends_not_fetched": ["the announcer is down; what was seen before is used"]}

    def test_a_source_with_a_fault_refuses_the_ticker_and_keeps_its_table(self, project: Project) -> None:
        run(project)
        table = (project.prices("main") / "A.parquet").read_bytes()
        fault = SourceFailure("A", "A: dividends: A.csv:3: 'x' is not a date", DataError.exit_code)
        (failure,) = run(project, actions=Announcer(fault)).failures
        assert (failure.exit_code, failure.reason) == (4, fault.reason)
        assert (project.prices("main") / "A.parquet").read_bytes() == table
