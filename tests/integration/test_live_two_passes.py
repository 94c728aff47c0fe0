"""Two nights of a project whose csv files grow by a session: the second pass is the real command, by the real clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.load import load_branches, load_params
from mlops_cli.live.journal.journal import Selection
from mlops_cli.live.journal.making import closing_time
from mlops_cli.live.journal.opening import read_journal
from mlops_cli.live.journal.records import IssuedForecast
from mlops_cli.live.passes.live_pass import STEPS, PassResult, run_pass
from mlops_cli.live.passes.step import PassContext
from mlops_cli.live_wiring import pass_tools
from mlops_cli.market.sessions import last_finished_session
from tests.fakes.cli import Cli
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.price_tables import random_prices, xnys_sessions
from tests.fakes.projects import Silent, SmallProject, small_project
from tests.fakes.team_project import commands_on

SESSIONS = 700
HELD_OUT = 100
AFTER_CLOSE = timedelta(minutes=30)


@dataclass
class GrowingProject:
    """A trained project, and its whole prices by ticker, of which the csv files show a part."""

    small: SmallProject
    prices: dict[str, pd.DataFrame]

    @property
    def days(self) -> list[date]:
        """The sessions of its prices."""
        return [day.date() for day in next(iter(self.prices.values())).index]

    def show(self, last: date) -> None:
        """Write the csv files as they are after the close of a session."""
        for ticker, table in self.prices.items():
            self.small.prices(ticker, table.loc[: str(last)])

    def run(self, last: date) -> PassResult:
        """The pass half an hour after the close of a session, with the adapters of the command."""
        self.show(last)
        project = self.small.project
        params = load_params(project)
        branches = load_branches(project, params)
        tools = pass_tools(project, params, branches, dry_run=False)
        now = closing_time("XNYS", last).astimezone(UTC) + AFTER_CLOSE
        return run_pass(PassContext(project, params, branches, now, tools, Silent()), STEPS)

    def issued(self, session: date) -> list[IssuedForecast]:
        """The forecasts in the journal that were made on a session."""
        with read_journal(self.small.project.journal) as journal:
            return list(journal.forecasts(Selection(first=session, last=session)))


def growing(root: Path, prices: dict[str, pd.DataFrame]) -> GrowingProject:
    """A project whose models never saw the last `HELD_OUT` sessions, and which does not train them again."""
    small = small_project(root, list(prices))
    made = GrowingProject(small, prices)
    start = made.days[-HELD_OUT]
    (root / "simulation" / "mine.yaml").write_text(f'start: "{start}"\ndays: 90\n')
    with (root / "params.yaml").open("a") as params:
        params.write("live: {retrain: {at_most: 0}}\n")
    made.show(made.days[-4])
    small.run(LinearTrainer())
    return made


def up_to(last: pd.Timestamp, tickers: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Generated prices that end on a session."""
    calendar = xnys_sessions()
    first = calendar[calendar <= last][-SESSIONS]
    return {ticker: random_prices(SESSIONS, seed, start=f"{first:%F}") for seed, ticker in enumerate(tickers)}


@pytest.fixture
def nights(tmp_path: Path) -> GrowingProject:
    last = last_finished_session("XNYS", pd.Timestamp(datetime.now(UTC)))
    return growing(tmp_path / "p", up_to(last, ["AAA", "BBB", "CCC"]))


def counts(steps: Sequence[dict]) -> dict[str, tuple[int, int, int]]:
    return {
        step["step"]: (step["done"], step["unchanged"], len(step["failures"]))
        for step in steps
        if step["step"] in {"ingest", "settle", "issue"}
    }


def check_journal(nights: GrowingProject, before: date, last: date) -> None:
    """The forecasts of the night before are settled with the closes in the csv files; those of the last are not."""
    settled, waiting = nights.issued(before), nights.issued(last)
    assert len(settled) == len(waiting) == len(nights.prices)
    for forecast in settled:
        table = nights.prices[forecast.forecast.ticker]
        assert forecast.forecast.target_session == last
        assert forecast.forecast.last_close == pytest.approx(table["close"][str(before)])
        assert forecast.settled is not None
        assert forecast.settled.actual.actual_close == pytest.approx(table["close"][str(last)])
    assert [forecast.settled for forecast in waiting] == [None] * len(waiting)


def check_scores(nights: GrowingProject, before: date, last: date) -> None:
    """`mlops journal scores` agrees with a hand computation: forecasts as listed, closes from the csv files."""
    mlops = commands_on(nights.small.project)
    listed = json.loads(mlops("journal", "list", "--session", str(before), "--json").stdout)
    judged = json.loads(mlops("journal", "scores", "--json").stdout)
    figures = {row["model"]: row for row in judged["summary"]["models"]}
    assert len(listed) == len(figures) == len(nights.prices)
    ratios = []
    for forecast in listed:
        closes = nights.prices[forecast["ticker"]]["close"]
        error = abs(forecast["predicted_close"] - closes[str(last)])
        naive = abs(closes[str(before)] - closes[str(last)])
        row = figures[forecast["model"]]
        assert (row["n"], row["mae"], row["mae_naive"]) == (1, pytest.approx(error), pytest.approx(naive))
        ratios += [error / naive] if naive else []
    assert judged["summary"]["pooled"]["mae_ratio"] == pytest.approx(sum(ratios) / len(ratios))
    assert (judged["counts"]["judged"], judged["counts"]["waiting"]) == (len(listed), len(listed))


def test_the_second_pass_ingests_one_session_settles_and_issues(nights: GrowingProject) -> None:
    before, last = nights.days[-2:]
    assert nights.run(before).exit_code == 0
    nights.show(last)
    command = Cli(nights.small.root)
    done = command.mlops("live", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["session"] == str(last)
    assert counts(result["steps"]) == {"ingest": (3, 0, 0), "settle": (3, 0, 0), "issue": (3, 0, 0)}
    for ticker in nights.prices:
        stored = pd.read_parquet(nights.small.project.prices("main") / f"{ticker}.parquet")
        assert stored.index[-1].date() == last
        assert len(stored) == SESSIONS
    check_journal(nights, before, last)
    check_scores(nights, before, last)
    again = command.mlops("live", "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    assert counts(json.loads(again.stdout)["steps"]) == {"ingest": (0, 3, 0), "settle": (0, 3, 0), "issue": (0, 3, 0)}


def test_the_scores_of_the_command_are_those_computed_by_hand(nights: GrowingProject) -> None:
    days = nights.days[-3:]
    for day in days:
        assert nights.run(day).exit_code == 0
    done = Cli(nights.small.root).mlops("journal", "scores", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads(done.stdout)
    expected = {"issued": 9, "settled": 6, "waiting": 3, "stale": 0, "judged": 6}
    assert {name: scores["counts"][name] for name in expected} == expected
    assert (scores["counts"]["first_target"], scores["counts"]["last_target"]) == (str(days[1]), str(days[2]))
    forecasts = {
        (forecast.forecast.ticker, day): forecast.forecast.predicted_close
        for day in days[:2]
        for forecast in nights.issued(day)
    }
    for model in scores["summary"]["models"]:
        closes = nights.prices[model["ticker"]]["close"]
        own, naive = [], []
        for day, target in pairwise(days):
            own.append(abs(forecasts[model["ticker"], day] - closes[str(target)]))
            naive.append(abs(closes[str(day)] - closes[str(target)]))
        assert model["n"] == 2
        assert model["mae"] == pytest.approx(sum(own) / 2)
        assert model["mae_naive"] == pytest.approx(sum(naive) / 2)
        assert model["skill"] == pytest.approx(1 - sum(own) / sum(naive))
    assert len(scores["summary"]["models"]) == 3


@pytest.mark.slow
def test_two_passes_over_a_hundred_real_stocks(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "universe").glob("*.parquet"))[:100]
    if len(files) < 100:
        pytest.skip("fewer than 100 stocks in ../shared/data/universe")
    prices = {path.stem: real_prices(path) for path in files}
    nights = growing(tmp_path / "p", prices)
    before, last = nights.days[-2:]
    first, second = nights.run(before), nights.run(last)
    assert first.exit_code == second.exit_code == 0
    steps = [{**vars(outcome)} for outcome in second.outcomes]
    assert counts(steps) == {"ingest": (100, 0, 0), "settle": (100, 0, 0), "issue": (100, 0, 0)}
    check_journal(nights, before, last)
    check_scores(nights, before, last)


def real_prices(path: Path) -> pd.DataFrame:
    """The last sessions of a stock, with the columns of a price table."""
    table = pd.read_parquet(path).tail(SESSIONS).set_index("Date").astype("float64")
    names = {name: name.lower().replace(" ", "_") for name in table.columns}
    return table.rename(columns=names)[["open", "high", "low", "close", "adj_close", "volume"]].rename_axis("session")
