"""Nights of a project: prices grow by a session, forecasts are issued and settled, and the record is that of a hand.

Real stages (ingest, featurize, train), a real journal file; the prices are split 4:1 between two nights.
"""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.live.journal.frames import journal_frame
from mlops_cli.live.journal.gap import NONE, NOT_ISSUED, NOT_REPLAYED, UNITS, gap
from mlops_cli.live.journal.making import closing_time, newest_forecast
from mlops_cli.live.journal.opening import open_journal, read_journal
from mlops_cli.live.journal.records import IssueReport
from mlops_cli.live.journal.replaying import Replayer, replay_issued
from mlops_cli.live.journal.settle import Settlement, settle
from mlops_cli.live.journal.staleness import premature
from mlops_cli.live.journal.track_record import scores
from mlops_cli.models.manifest import GRAPH
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import model_versions
from mlops_cli.pipeline.stages.featurize import featurize
from mlops_cli.pipeline.stages.ingest import IngestSources, ingest
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.prices.sources.csv_source import CsvSource
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import Silent, SmallProject, small_project
from tests.fakes.team_project import commands_on

TICKERS = ("AAA", "BBB")
NIGHTS = 7
SPLIT_BEFORE = 4
"""Before this night the history of AAA is restated for a split 4:1."""
PRICES = {ticker: random_prices(700, seed) for seed, ticker in enumerate(TICKERS)}
SESSIONS = PRICES["AAA"].index[-NIGHTS - 1 :]


class Nights:
    """A trained project, and what a nightly pass does with its journal."""

    def __init__(self, root: Path) -> None:
        self.small: SmallProject = small_project(root, TICKERS)
        self.path = self.small.project.journal
        self.small.run(LinearTrainer())

    def update(self, night: int) -> None:
        """Prices and features as they are after the close of SESSIONS[night]."""
        for ticker, prices in PRICES.items():
            known = prices.loc[: SESSIONS[night]].copy()
            if ticker == "AAA" and night >= SPLIT_BEFORE:
                known[["open", "high", "low", "close", "adj_close"]] /= 4
                known["volume"] *= 4
            self.small.prices(ticker, known)
        ingest(
            self.small.project,
            self.small.branch,
            IngestSources(CsvSource(self.small.root / "data" / "incoming")),
            Silent(),
        )
        featurize(self.small.project, self.small.branch, Silent())

    def issue(self, night: int) -> IssueReport:
        now = closing_time("XNYS", SESSIONS[night].date()) + timedelta(hours=1)
        forecasts = []
        for spec in self.small.branch.models:
            model = Model.open(self.small.project.models("main") / spec.name)
            forecasts.append(newest_forecast(model.manifest, "main", self.table("main", spec.name), model.forecasts))
        assert premature(forecasts, now) == []
        with open_journal(self.path) as journal:
            return journal.issue(forecasts, now)

    def settle(self, night: int) -> Settlement:
        with open_journal(self.path) as journal:
            settlement = settle(journal_frame(journal.batches()), self.closes)
            journal.add_actuals(settlement.actuals, closing_time("XNYS", SESSIONS[night].date()))
        return settlement

    def frame(self) -> pd.DataFrame:
        with read_journal(self.path) as journal:
            return journal_frame(journal.batches())

    def table(self, branch: str, model: str) -> pd.DataFrame:
        table = read_table(self.small.project.features(branch), model)
        assert table is not None
        return table

    def closes(self, branch: str, ticker: str) -> pd.Series:
        prices = read_table(self.small.project.prices(branch), ticker)
        assert prices is not None
        return prices["close"]

    def version(self, branch: str, model: str, name: str) -> Replayer:
        folders = {each.version: each for each in model_versions(self.small.project.model_root, branch, model)}
        opened = Model(folders[name].folder, folders[name].manifest)
        return Replayer(opened.manifest, opened.forecasts)


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    made = Nights(tmp_path_factory.mktemp("nights") / "p")
    for night in range(NIGHTS):
        made.update(night)
        settlement = made.settle(night)
        assert len(settlement.new) == (2 if night else 0)
        assert len(settlement.restated) == (SPLIT_BEFORE - 1 if night == SPLIT_BEFORE else 0), "the units of AAA"
        assert settlement.unsettled == ()
        report = made.issue(night)
        assert (report.issued, report.refused) == (2, ())
        assert made.issue(night).unchanged == 2, "the pass was killed and runs again"
        assert made.settle(night).actuals == ()
    return made


def test_what_was_issued_is_in_the_units_of_its_day(nights: Nights) -> None:
    frame = nights.frame()
    aaa = frame[frame["ticker"] == "AAA"]
    closes = PRICES["AAA"]["close"].loc[SESSIONS[:NIGHTS]].to_numpy()
    units = [1.0] * SPLIT_BEFORE + [0.25] * (NIGHTS - SPLIT_BEFORE)
    assert aaa["last_close"].tolist() == pytest.approx(closes * units, rel=1e-12)
    settled = aaa[aaa["actual_close"].notna()]
    assert len(settled) == NIGHTS - 1
    expected = PRICES["AAA"]["close"].loc[SESSIONS[1:NIGHTS]].to_numpy() * units[: NIGHTS - 1]
    assert settled["actual_close"].tolist() == pytest.approx(expected, rel=1e-9)


def test_scores_agree_with_a_hand_computation(nights: Nights) -> None:
    """MAE and naive MAE from the price series alone, in the units of today; the forecasts from the journal."""
    frame = nights.frame()
    models = {row["ticker"]: row for row in scores(frame)["summary"]["models"]}
    for ticker, units in (("AAA", 0.25), ("BBB", 1.0)):
        closes = PRICES[ticker]["close"].loc[SESSIONS[:NIGHTS]].to_numpy() * units
        last, actual = closes[:-1], closes[1:]
        returns = frame.loc[frame["ticker"] == ticker, "log_return"].to_numpy()[: NIGHTS - 1]
        naive = sum(abs(b - a) for a, b in zip(last, actual, strict=True)) / len(last)
        errors = [abs(a * 2.718281828459045**r - b) for a, b, r in zip(last, actual, returns, strict=True)]
        assert models[ticker]["n"] == NIGHTS - 1
        assert models[ticker]["mae_naive"] == pytest.approx(naive, rel=1e-9)
        assert models[ticker]["mae"] == pytest.approx(sum(errors) / len(errors), rel=1e-9)


def test_the_journal_is_what_a_replay_of_today_gives(nights: Nights) -> None:
    """Nothing was restated but the units."""
    frame = nights.frame()
    table = gap(frame, replay_issued(frame, nights.version, nights.table))
    assert len(table) == 2 * NIGHTS
    causes = table.groupby("ticker")["cause"].agg(list)
    assert causes["BBB"] == [NONE] * NIGHTS
    assert causes["AAA"] == [UNITS] * SPLIT_BEFORE + [NONE] * (NIGHTS - SPLIT_BEFORE)
    assert table["difference"].abs().max() < 1e-6


class TestTheCommand:
    """`mlops journal gap` and `scores` on the journal of these nights."""

    def test_gap_names_the_split_and_nothing_else(self, nights: Nights) -> None:
        done = commands_on(nights.small.project)("journal", "gap")
        assert done.exit_code == 0, done.stderr
        assert f"14 forecasts, by cause of their gap: {2 * NIGHTS - SPLIT_BEFORE} none, {SPLIT_BEFORE} other units" in (
            done.stdout
        )
        rows = [line.split() for line in done.stdout.splitlines() if line.lstrip().startswith("red-")]
        assert [row[0] for row in rows] == ["red-aaa"] * SPLIT_BEFORE

    def test_gap_of_some_as_json(self, nights: Nights) -> None:
        last = str(SESSIONS[2].date())
        done = commands_on(nights.small.project)("journal", "gap", "--ticker", "AAA", "--to", last, "--json")
        compared = json.loads(done.stdout)
        assert (compared["n"], compared["causes"]) == (3, {UNITS: 3})
        assert [row["session"] for row in compared["rows"]] == [str(day.date()) for day in SESSIONS[:3]]
        assert compared["rows"][0]["predicted_close_now"] == pytest.approx(compared["rows"][0]["predicted_close"] / 4)

    def test_a_damaged_model_leaves_the_others_compared(self, nights: Nights, tmp_path: Path) -> None:
        root = tmp_path / "p"
        shutil.copytree(nights.small.root, root)
        project = Project.at(root)
        (project.models("main") / "red-aaa" / GRAPH).write_bytes(b"no graph")
        done = commands_on(project)("journal", "gap", "--json")
        assert done.exit_code == 9
        assert json.loads(done.stdout)["causes"] == {NONE: NIGHTS, NOT_REPLAYED: NIGHTS}
        assert "failed: red-aaa (gap)" in done.stderr

    def test_a_night_without_a_pass(self, nights: Nights, tmp_path: Path) -> None:
        """The journal of the other model says that there was a session."""
        root = tmp_path / "p"
        shutil.copytree(nights.small.root, root, ignore=shutil.ignore_patterns("journal.db*"))
        project = Project.at(root)
        with read_journal(nights.path) as before, open_journal(project.journal) as after:
            issued = [each.forecast for each in before.forecasts()]
            missing = {(SESSIONS[NIGHTS - 1].date(), "AAA"), (SESSIONS[2].date(), "AAA")}
            kept = [forecast for forecast in issued if (forecast.session, forecast.ticker) not in missing]
            after.issue(kept, closing_time("XNYS", SESSIONS[NIGHTS].date()))
        done = commands_on(project)("journal", "gap", "--ticker", "AAA", "--json")
        rows = json.loads(done.stdout)["rows"]
        assert [row["session"] for row in rows if row["cause"] == NOT_ISSUED] == [
            str(SESSIONS[place].date()) for place in (2, NIGHTS - 1)
        ]

    def test_scores_are_those_of_the_library(self, nights: Nights) -> None:
        done = commands_on(nights.small.project)("journal", "scores", "--json")
        assert json.loads(done.stdout) == scores(nights.frame())


def test_a_forecast_is_stale_once_the_next_session_has_closed(nights: Nights) -> None:
    with read_journal(nights.path) as journal:
        newest = journal.newest()
    assert [each.forecast.session for each in newest] == [SESSIONS[NIGHTS - 1].date()] * 2
    closes_at = closing_time("XNYS", SESSIONS[NIGHTS].date())
    for each in newest:
        assert not each.forecast.is_stale(closes_at - timedelta(seconds=1))
        assert each.forecast.is_stale(closes_at)
