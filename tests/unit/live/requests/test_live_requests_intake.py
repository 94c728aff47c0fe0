"""What teams may ask for: which config a request gets, which data, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.config.load import load_branch, load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import store_requested
from mlops_cli.errors import ConfigError
from mlops_cli.live.jobs.job import JobRequest
from mlops_cli.live.jobs.job_requests import requested_models
from mlops_cli.live.requests.intake import Intake
from tests.fakes.config_projects import PARAMS, make_project

OWN = "team: red\nticker: AAPL\nludwig: {combiner: {output_size: 7}}\n"
POOL = "team: red\ntickers: [KO, PEP]\npool: true\n"
EVENING = datetime(2024, 1, 5, 22, tzinfo=UTC)  # a Friday, after New York has closed


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, {"configs/mine/red.yaml": OWN, "configs/mine/pool.yaml": POOL})


def ask(project: Project, body: Any, team: str | None = "red", now: datetime = EVENING) -> list[JobRequest]:
    return Intake(project).requests(team, body, now)


def refusal(project: Project, body: Any, team: str | None = "red") -> str:
    with pytest.raises(ConfigError) as error:
        ask(project, body, team)
    return error.value.message


def test_a_ticker_alone_takes_the_config_that_is_there_under_this_name(project: Project) -> None:
    (request,) = ask(project, {"ticker": "aapl"})
    assert json.loads(request.spec)["ludwig"]["combiner"]["output_size"] == 7
    (same,) = ask(project, {"ticker": "AAPL", "ludwig": {"combiner": {"output_size": 7}}})
    assert same.fingerprint == request.fingerprint


def test_a_new_ticker_takes_the_defaults(project: Project) -> None:
    (request,) = ask(project, {"ticker": "NVDA"})
    assert request.model == "red-nvda"
    assert json.loads(request.spec)["ludwig"]["combiner"]["output_size"] != 7


def test_a_requested_model_keeps_its_config_when_it_is_asked_for_again(project: Project) -> None:
    (spec,) = requested_models(project, "red", {"ticker": "NVDA", "features": {"returns": [3]}})
    store_requested(project, spec)
    (request,) = ask(project, {"ticker": "NVDA"})
    assert json.loads(request.spec)["features"]["returns"] == [3]


def test_another_config_under_the_same_name_is_refused_and_with_a_suffix_it_is_not(project: Project) -> None:
    body = {"ticker": "AAPL", "features": {"returns": [3]}}
    message = refusal(project, body)
    assert "red-aapl with another config, in configs/mine/red.yaml" in message
    assert "suffix" in message
    assert ask(project, {**body, "suffix": "short"})[0].model == "red-aapl-short"


def test_a_name_of_another_team_is_refused(tmp_path: Path) -> None:
    other = "team: red-2\nticker: AAPL\n"
    project = make_project(tmp_path, {"configs/mine/red.yaml": OWN, "configs/mine/other.yaml": other})
    assert "the name red-2-aapl belongs to AAPL of team red-2" in refusal(project, {"ticker": "2-AAPL"})
    assert ask(project, {"ticker": "AAPL"}, "red-2")[0].team == "red-2"


def test_all_mistakes_are_told_at_once(project: Project) -> None:
    message = refusal(project, {"tickers": ["AAPL", "KO", "NVDA"], "features": {"returns": [3]}})
    assert "red-aapl" in message
    assert "red-ko shares one training with PEP; train the pool with: mlops run" in message
    assert "nvda" not in message


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (EVENING, "2024-01-05"),
        (datetime(2024, 1, 5, 15, tzinfo=UTC), "2024-01-04"),  # New York is trading
        (datetime(2024, 1, 7, 12, tzinfo=UTC), "2024-01-05"),  # a Sunday
    ],
)
def test_the_data_are_named_by_the_last_finished_session(project: Project, now: datetime, last: str) -> None:
    (first,), (other,) = ask(project, {"ticker": "NVDA"}, now=now), ask(project, {"ticker": "NVDA"})
    assert first.data == last
    assert (first.fingerprint == other.fingerprint) == (last == "2024-01-05")


def test_a_period_that_has_ended_names_its_end(tmp_path: Path) -> None:
    params = PARAMS + "period: {end: '2019-12-31'}\n"
    (request,) = ask(make_project(tmp_path, {"configs/mine/red.yaml": OWN}, params), {"ticker": "NVDA"})
    assert request.data == "2019-12-31"


@pytest.mark.parametrize("body", [{"ticker": "NVDA"}, {"ticker": "NVDA", "team": None}, {"team": 7}, [], "NVDA"])
def test_without_a_teams_token_the_body_names_the_team(project: Project, body: Any) -> None:
    assert "job: team: " in refusal(project, body, team=None)


def test_the_team_of_the_body_counts_only_without_a_teams_token(project: Project) -> None:
    assert ask(project, {"ticker": "NVDA", "team": "blue"}, team=None)[0].model == "blue-nvda"
    assert "the request comes from team red" in refusal(project, {"ticker": "NVDA", "team": "blue"})


def test_configs_are_read_again_when_they_change(project: Project) -> None:
    intake = Intake(project)
    assert json.loads(intake.requests("red", {"ticker": "KO2"}, EVENING)[0].spec)["features"]["returns"] != [2]
    (project.configs / "mine" / "new.yaml").write_text("team: red\nticker: KO2\nfeatures: {returns: [2]}\n")
    assert json.loads(intake.requests("red", {"ticker": "KO2"}, EVENING)[0].spec)["features"]["returns"] == [2]
    spec = load_branch(project, load_params(project), "main").models[0].model_copy(update={"name": "red-own"})
    store_requested(project, spec.model_copy(update={"ticker": "OWN"}))
    with pytest.raises(ConfigError, match=r"red-own with another config, in \.mlops/requested/red-own\.json"):
        intake.requests("red", {"ticker": "OWN", "features": {"returns": [5]}}, EVENING)


def test_a_branch_of_params_with_the_reserved_name_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"configs/mine/red.yaml": OWN}, PARAMS.replace("main", "requested"))
    assert "branches.requested" in refusal(project, {"ticker": "NVDA"})


def test_requested_models_of_one_ticker_have_one_exchange(project: Project) -> None:
    (spec,) = requested_models(project, "red", {"ticker": "NVDA"})
    store_requested(project, spec)
    told = refusal(project, {"ticker": "NVDA", "exchange": "XLON"}, "blue")
    assert "NVDA has the exchange XNYS in other requested models, not XLON" in told
