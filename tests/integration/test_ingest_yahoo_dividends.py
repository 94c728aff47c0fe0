"""Dividends from Yahoo through ingest: in the bars, in the calendar, and when Yahoo's calendar is down.

The real yfinance talks to a server on loopback.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.market.sessions import last_finished_session, sessions
from mlops_cli.pipeline.stages.ingest import IngestSources, ingest
from mlops_cli.pipeline.stages.stage import StageReport
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.prices.actions.dividends import Sighting
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings
from mlops_cli.prices.actions.yfinance_actions import YfinanceActions
from mlops_cli.prices.sources.yfinance_source import YfinanceSource
from tests.fakes.branches import Progress, branch_of
from tests.fakes.dividend_prices import paying_prices
from tests.fakes.fake_yahoo import FakeYahoo
from tests.fakes.train_jobs import model_spec

IBM = model_spec("red-ibm", ticker="IBM")
LAST = last_finished_session("XNYS", pd.Timestamp.now("UTC"))
DAYS = sessions("XNYS", LAST - pd.Timedelta(days=300), LAST)
PAID = {str(DAYS[40].date()): 1.5, str(DAYS[100].date()): 1.6}
COMING = sessions("XNYS", date.today() + timedelta(days=28), date.today() + timedelta(days=40))[0]
MOVED = sessions("XNYS", COMING + pd.Timedelta(days=1), COMING + pd.Timedelta(days=9))[0]


@pytest.fixture
def yahoo() -> Iterator[FakeYahoo]:
    with FakeYahoo() as server:
        listing = server.list("IBM", paying_prices(PAID, str(DAYS[0].date()), str(LAST.date())))
        listing.dividends = {pd.Timestamp(day): amount for day, amount in PAID.items()}
        server.calendars["IBM"] = stamp(COMING)
        yield server


def stamp(day: pd.Timestamp) -> int:
    return int(day.tz_localize("UTC").timestamp())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def run(project: Project, yahoo: FakeYahoo, until: pd.Timestamp = LAST) -> StageReport:
    """Ingest as after the close of the session `until`."""
    clock = (until + pd.Timedelta(hours=23)).tz_localize("UTC")
    prices = YfinanceSource(rate_per_s=10_000, retries=0, backoff_s=0, base_url=yahoo.url, clock=lambda: clock)
    actions = YfinanceActions(rate_per_s=10_000, base_url=yahoo.url)
    return ingest(project, branch_of(IBM), IngestSources(prices, actions), Progress())


def seen(project: Project) -> list[Sighting]:
    return read_sightings(dividends_file(project.prices("main"), "IBM")) or []


def rules(project: Project) -> list[str]:
    note = json.loads((project.prices("main") / "IBM.json").read_text())
    return [repair["rule"] for repair in note["repairs"]]


def test_past_dividends_come_with_the_bars_and_the_next_day_from_the_calendar(project, yahoo) -> None:
    assert run(project, yahoo).failures == []
    *history, coming = seen(project)
    assert [(str(s.ex_date), s.amount, s.source, s.taken) for s in history] == [
        (day, amount, "yfinance bars", True) for day, amount in PAID.items()
    ]
    assert (coming.ex_date, coming.amount, coming.estimated, coming.taken) == (COMING.date(), 1.6, True, False)
    assert rules(project) == []


def test_prices_are_asked_for_once(project, yahoo) -> None:
    run(project, yahoo)
    assert (len(yahoo.asked("IBM")), yahoo.calendar_requests) == (1, ["IBM"])


def test_the_same_answers_again_change_nothing(project, yahoo) -> None:
    run(project, yahoo)
    before = {path: path.read_bytes() for path in project.prices("main").iterdir()}
    assert run(project, yahoo).unchanged == ["red-ibm"]
    assert {path: path.read_bytes() for path in project.prices("main").iterdir()} == before


def test_sessions_that_are_appended_bring_their_dividends(project, yahoo) -> None:
    yahoo.calendars["IBM"] = None
    run(project, yahoo, DAYS[99])
    assert [str(s.ex_date) for s in seen(project)] == [str(DAYS[40].date())]
    run(project, yahoo)
    assert [str(s.ex_date) for s in seen(project)] == list(PAID)


def test_an_ex_date_that_moves_is_withdrawn(project, yahoo) -> None:
    run(project, yahoo)
    yahoo.calendars["IBM"] = stamp(MOVED)
    run(project, yahoo)
    assert [(s.ex_date, s.amount) for s in seen(project)[-2:]] == [(MOVED.date(), 1.6), (COMING.date(), 0.0)]


def test_a_calendar_that_is_down_stops_nothing_and_is_named(project, yahoo) -> None:
    run(project, yahoo)
    before = seen(project)
    yahoo.calendar_status = 429
    assert run(project, yahoo).failures == []
    assert (seen(project), rules(project)) == (before, ["dividends_not_fetched"])
    yahoo.calendar_status = 200
    run(project, yahoo)
    assert rules(project) == []


def test_a_split_restates_amounts_without_news(project, yahoo) -> None:
    run(project, yahoo)
    before = seen(project)
    yahoo.restate("IBM", DAYS[150], 2)
    listing = yahoo.listings["IBM"]
    listing.dividends = {day: amount / 2 for day, amount in listing.dividends.items()}
    run(project, yahoo)
    assert seen(project) == before
    assert read_table(project.prices("main"), "IBM")["close"].iloc[-1] < 60  # prices were about 100
