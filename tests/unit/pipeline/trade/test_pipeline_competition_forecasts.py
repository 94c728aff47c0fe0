"""Forecasts of a trading replay: whose, of which sessions, with what volatility and verdict."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import DataError, ModelError
from mlops_cli.market.hours import us_hours
from mlops_cli.models.manifest import file_hashes
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering_version, install_live_version
from mlops_cli.pipeline.stages.tables import write_table
from mlops_cli.pipeline.trade.competition_forecasts import ReplayBook, replay_book
from tests.fakes.branches import Progress
from tests.fakes.model_folders import model_folder
from tests.fakes.price_tables import random_prices
from tests.fakes.train_jobs import model_spec
from tests.fakes.trained_models import START, trained_branch

A, B = model_spec("red-a", ticker="A"), model_spec("blue-b", team="blue", ticker="B")
END = date(2016, 1, 16)
SKILLED = {"red": Rules(trade_without_skill=True), "blue": Rules(trade_without_skill=True)}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def branch(project: Project) -> Branch:
    for seed, ticker in enumerate("AB"):
        write_table(project.prices("main"), ticker, random_prices(300, seed))
    return trained_branch(project, A, B)


def book(project: Project, branch: Branch, rules: dict[str, Rules] = SKILLED, start: date = START) -> ReplayBook:
    return replay_book(project, [branch], rules, start, END, Progress())


def test_the_sessions_are_those_of_the_period_and_the_one_before(project: Project, branch: Branch) -> None:
    made = book(project, branch)
    days = [session.day for session in us_hours().between(START, date(2016, 1, 15))]
    assert list(made.sessions) == days
    assert made.before == date(2015, 12, 31)
    assert [day.date() for day in made.market.closes.index] == [made.before, *days]
    assert [day.date() for day in made.market.opens.index] == days
    assert list(made.market.closes.columns) == ["A", "B"]


def test_every_team_has_its_forecasts_by_session(project: Project, branch: Branch) -> None:
    made = book(project, branch)
    assert set(made.forecasts) == {(team, day) for team in ("red", "blue") for day in made.sessions}
    (forecast,) = made.forecasts["red", made.sessions[0]].forecasts
    model = Model.open(project.models("main") / "red-a")
    row = pd.read_parquet(project.features("main") / "red-a.parquet").loc[[pd.Timestamp(made.before)]]
    assert (forecast.model, forecast.team, forecast.ticker) == ("red-a", "red", "A")
    assert (forecast.session, forecast.target_session) == (made.before, made.sessions[0])
    assert forecast.log_return == pytest.approx(float(model.log_returns(row)[0][0]), rel=1e-9)
    assert forecast.last_close == Decimal(str(round(float(row["last_close"].iloc[0]), 4)))
    assert forecast.version == model.manifest.version


def test_a_live_version_was_trained_on_the_period_and_does_not_take_part(project: Project, branch: Branch) -> None:
    frozen = Model.open(project.models("main") / "red-a").manifest
    later = model_folder(project.root / "made", "red-a")
    frozen.model_copy(update={"trained_until": END, "files": file_hashes(later)}).write(later)
    live = install_live_version(later, project.model_root, "main", "red-a")
    assert answering_version(project.model_root, "main", "red-a").version == live
    made = book(project, branch)
    assert {each.version for day in made.sessions for each in made.forecasts["red", day].forecasts} == {frozen.version}


def test_the_volatility_knows_nothing_of_later_sessions(project: Project, branch: Branch) -> None:
    made = book(project, branch)
    closes = random_prices(300, 0)["close"]
    for day in made.sessions:
        given = made.forecasts["red", day]
        known = np.log(closes.loc[: pd.Timestamp(given.forecasts[0].session)]).diff().tail(60)
        assert given.volatilities["A"] == pytest.approx(known.std(), rel=1e-9)


def test_a_verdict_is_that_of_the_models_version(project: Project, branch: Branch) -> None:
    version = Model.open(project.models("main") / "red-a").manifest.version
    rows = [
        {"model": "red-a", "version": version, "verdict": "skill"},
        {"model": "blue-b", "version": "another", "verdict": "skill"},
    ]
    path = project.evaluation("main") / "models.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(rows))
    made = book(project, branch, {"red": Rules(), "blue": Rules()})
    day = made.sessions[0]
    assert [one.verdict for one in made.forecasts["red", day].forecasts] == ["skill"]
    assert [one.verdict for one in made.forecasts["blue", day].forecasts] == [None]
    assert made.models == {"red": ("red-a",), "blue": ()}
    assert made.idle["red"].total() == 0
    assert made.idle["blue"].total() == 1


def test_a_team_without_rules_is_left_out(project: Project, branch: Branch) -> None:
    made = book(project, branch, {"red": SKILLED["red"]})
    assert set(made.models) == {"red"}
    assert {team for team, _ in made.forecasts} == {"red"}
    assert list(made.market.closes.columns) == ["A"]


def test_a_model_of_another_exchange_is_reported(project: Project) -> None:
    german = A.model_copy(update={"exchange": "XETR"})
    branch = trained_branch(project, german, B)
    for seed, ticker in enumerate("AB"):
        write_table(project.prices("main"), ticker, random_prices(300, seed))
    made = book(project, branch)
    assert [failure.model for failure in made.report.failures] == ["red-a"]
    assert "not XETR" in made.report.failures[0].reason
    assert made.models == {"red": (), "blue": ("blue-b",)}


def test_models_trained_on_the_period_cannot_trade_it(project: Project, branch: Branch) -> None:
    with pytest.raises(ModelError, match=r"no model can trade in this period: .*was trained on closes") as caught:
        book(project, branch, start=date(2015, 12, 1))
    assert "--replay" in caught.value.hint


def test_rules_that_name_no_model_are_refused(project: Project, branch: Branch) -> None:
    with pytest.raises(ModelError, match="no model of red trades"):
        book(project, branch, {"red": Rules(models=("green-*",))})


def test_missing_prices_are_named(project: Project, branch: Branch) -> None:
    (project.prices("main") / "B.parquet").unlink()
    with pytest.raises(DataError, match="B: no prices in"):
        book(project, branch)
