"""Latest forecasts over HTTP as a pass has issued them, and what a server does with a journal that it cannot read."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from mlops_cli.live.journal.making import newest_forecast
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.records import Forecast
from mlops_cli.market.sessions import last_finished_session, sessions
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering_version
from tests.fakes.live_servers import live, trained_project
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import SmallProject

ISSUED = ("red-aaa", "red-bbb", "dull-aaa")
ENSEMBLE = "\nserving: {ensembles: {aaa-both: {models: [red-aaa, dull-aaa], weights: equal}}, keep_versions: 3}\n"


def forecast_of(made: SmallProject, name: str) -> Forecast:
    """What the answering version of a model forecasts from its newest row."""
    version = answering_version(made.project.model_root, "main", name)
    table = pd.read_parquet(made.project.features("main") / f"{name}.parquet")
    return newest_forecast(version.manifest, "main", table, Model(version.folder, version.manifest).forecasts)


def issue(made: SmallProject, *names: str) -> datetime:
    now = datetime.now(UTC)
    with open_journal(made.project.journal) as journal:
        assert journal.issue([forecast_of(made, name) for name in names], now).refused == ()
    return now


def restate(made: SmallProject, name: str, **columns: Callable[[Any], Any]) -> None:
    """Change columns of the newest row of a model's feature table."""
    path = made.project.features("main") / f"{name}.parquet"
    table = pd.read_parquet(path)
    for column, change in columns.items():
        table.loc[table.index[-1], column] = change(table[column].iloc[-1])
    table.to_parquet(path)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """AAA's prices end with the last finished session; the others ended years ago."""
    prices = random_prices(700, 0)
    last = last_finished_session("XNYS", pd.Timestamp.now("UTC"))
    days = sessions("XNYS", last - pd.Timedelta(days=1100), last)[-len(prices) :]
    made = trained_project(tmp_path_factory.mktemp("journaled") / "p")
    for name in ("red-aaa", "dull-aaa"):
        path = made.project.features("main") / f"{name}.parquet"
        table = pd.read_parquet(path)
        index = days[-len(table) :]
        after = sessions("XNYS", last + pd.Timedelta(days=1), last + pd.Timedelta(days=10))[0]
        table.index = pd.DatetimeIndex(index, name="session")
        table.assign(target_session=[*index[1:], after]).to_parquet(path)
    params = made.root / "params.yaml"
    params.write_text(params.read_text() + ENSEMBLE)
    return made


@pytest.fixture(scope="module")
def server(original: SmallProject) -> Iterator[httpx.Client]:
    """A server that knows already how old the data are."""
    with live(original.root) as served, served.http() as opened:
        assert opened.get("/forecasts").json()["forecasts"][0]["stale"] is not None
        yield opened


@pytest.fixture
def made(original: SmallProject, tmp_path: Path) -> Iterator[SmallProject]:
    """The project without a journal; what a test changes is undone."""
    features = original.project.features("main")
    shutil.copytree(features, tmp_path / "features")
    yield original
    for path in original.project.state.glob("journal.db*"):
        path.unlink()
    for path in features.iterdir():
        shutil.copy(tmp_path / "features" / path.name, path)


@pytest.fixture
def client(server: httpx.Client, made: SmallProject) -> httpx.Client:
    assert made.project.params.is_file()
    return server


def latest(client: httpx.Client, path: str = "/forecasts") -> dict[str, dict[str, Any]]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return {each["model"]: each for each in answer.json()["forecasts"]}


def test_what_was_issued_is_shown_as_it_was_issued(made: SmallProject, client: httpx.Client) -> None:
    before = latest(client)
    assert {each["source"] for each in before.values()} == {"computed"}
    assert {each["issued_at"] for each in before.values()} == {None}
    now = issue(made, *ISSUED)
    after = latest(client)
    assert {name for name, each in after.items() if each["source"] == "journal"} == {*ISSUED}, "without a restart"
    for name in ISSUED:
        expected, shown = forecast_of(made, name), after[name]
        assert datetime.fromisoformat(shown["issued_at"]) == now
        assert (shown["predicted_close"], shown["log_return"]) == (expected.predicted_close, expected.log_return)
        assert (shown["version"], shown["superseded"]) == (expected.version, None)
        assert shown["session"] == str(expected.session)
        bounds = {f"{level:g}": pytest.approx([lower, upper]) for level, lower, upper, _ in expected.intervals}
        assert shown["intervals"] == bounds
        same = ("ticker", "team", "target_session", "last_close", "verdict", "ex_date", "dividend_source", "rung")
        assert [shown[key] for key in same] == [before[name][key] for key in same]
        assert shown["expected_total_return"] == pytest.approx(before[name]["expected_total_return"], abs=1e-7)
    assert latest(client, "/forecasts/AAA").keys() == {"dull-aaa", "red-aaa", "aaa-both"} & after.keys()
    computed = latest(client, "/forecasts?source=computed")
    assert [{**each, "age": 0} for each in computed.values()] == [{**each, "age": 0} for each in before.values()]
    both = after["aaa-both"]
    assert (both["source"], both["issued_at"]) == ("computed", None)
    mean = np.mean([after[name]["log_return"] for name in ("red-aaa", "dull-aaa")])
    assert both["log_return"] == pytest.approx(mean, abs=1e-7)
    assert client.get("/health").json()["journal"] == "ok"


def test_old_data_are_stale_whether_issued_or_computed(made: SmallProject, client: httpx.Client) -> None:
    issue(made, "red-aaa", "red-bbb")
    shown = latest(client)
    fresh = {name for name, each in shown.items() if each["stale"] is False}
    assert fresh == {"red-aaa", "dull-aaa", "aaa-both"}
    assert {shown[name]["data_age_sessions"] for name in fresh} == {0}
    behind = len(sessions("XNYS", date.fromisoformat(shown["red-ccc"]["session"]) + timedelta(days=1),
                          last_finished_session("XNYS", pd.Timestamp.now("UTC"))))  # fmt: skip
    for name in ("red-bbb", "red-ccc"):
        assert (shown[name]["stale"], shown[name]["data_age_sessions"]) == (True, behind), shown[name]["source"]
    assert 'mlops_stale_forecasts{worker="0"} 4.0' in client.get("/metrics").text
    bars = [
        {"session": f"{day:%F}", "open": 10, "high": 10, "low": 10, "close": 10, "volume": 1}
        for day in sessions("XNYS", date(2024, 1, 1), date(2024, 6, 28))
    ]
    (posted,) = client.post("/forecasts", json={"models": ["red-ccc"], "bars": bars}).json()["forecasts"]
    assert (posted["source"], posted["stale"]) == ("computed", True)
    assert posted["data_age_sessions"] > 400


def test_the_issued_one_stays_and_says_why_a_new_one_would_differ(made: SmallProject, client: httpx.Client) -> None:
    issue(made, *ISSUED)
    issued = latest(client)
    restate(made, "red-bbb", return_1=lambda value: value + 0.01)
    restate(made, "dull-aaa", last_close=lambda value: value / 4)
    shown = latest(client)
    assert shown["red-bbb"]["superseded"] == "restated"
    assert shown["dull-aaa"]["superseded"] == "restated"
    assert shown["red-bbb"]["predicted_close"] == issued["red-bbb"]["predicted_close"]
    assert shown["dull-aaa"]["last_close"] == issued["dull-aaa"]["last_close"]
    assert shown["aaa-both"]["superseded"] == "restated"
    computed = latest(client, "/forecasts?source=computed")
    assert computed["red-bbb"]["superseded"] is None
    assert computed["red-bbb"]["predicted_close"] != issued["red-bbb"]["predicted_close"]
    assert computed["dull-aaa"]["last_close"] == pytest.approx(issued["dull-aaa"]["last_close"] / 4)


def eventually_from_the_journal(client: httpx.Client) -> None:
    """It is read again once it can be."""
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while latest(client)["red-aaa"]["source"] != "journal":
        assert datetime.now(UTC) < deadline, client.get("/health").json()["journal"]
        time.sleep(0.05)
    assert client.get("/health").json()["journal"] == "ok"


class TestAJournalThatCannotBeRead:
    def computed(self, client: httpx.Client, word: str) -> None:
        shown = latest(client)
        assert {each["source"] for each in shown.values()} == {"computed"}
        assert len(shown) == 7, "every model still answers"
        health = client.get("/health").json()
        assert health["status"] == "ok"
        assert word in health["journal"], health["journal"]

    def test_that_is_damaged(self, made: SmallProject, client: httpx.Client) -> None:
        issue(made, *ISSUED)
        assert latest(client)["red-aaa"]["source"] == "journal"
        good = made.project.journal.read_bytes()
        made.project.journal.write_bytes(b"no database" * 500)
        self.computed(client, "the journal cannot be used")
        made.project.journal.write_bytes(good)
        eventually_from_the_journal(client)

    def test_that_another_program_has_locked(self, made: SmallProject, client: httpx.Client) -> None:
        latest(client)  # there is none yet; what was read before would still be shown
        issue(made, *ISSUED)
        other = sqlite3.connect(made.project.journal, isolation_level=None)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE locks(x)")
        try:
            began = datetime.now(UTC)
            self.computed(client, "could not be read within")
            assert datetime.now(UTC) - began < timedelta(seconds=4), "less than SQLite waits for a lock"
        finally:
            other.execute("ROLLBACK")
            other.close()
        eventually_from_the_journal(client)

    def test_health_looks_by_itself(self, made: SmallProject, client: httpx.Client) -> None:
        assert client.get("/health").json()["journal"] == "ok", "there is none yet"
        made.project.journal.write_bytes(b"no database" * 500)
        assert "the journal cannot be used" in client.get("/health").json()["journal"]

    def test_that_is_none(self, made: SmallProject, client: httpx.Client) -> None:
        made.project.journal.parent.mkdir(exist_ok=True)
        with sqlite3.connect(made.project.journal) as other:
            other.execute("CREATE TABLE t(x)")
        other.close()
        self.computed(client, "no journal of forecasts")


def test_several_workers_read_the_same_journal(made: SmallProject) -> None:
    issue(made, *ISSUED)
    with live(made.root, "--workers", "2") as served:
        for _ in range(6):  # a new connection each time: any worker
            with served.http() as client:
                assert {latest(client)[name]["source"] for name in ISSUED} == {"journal"}
