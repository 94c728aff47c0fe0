"""`mlops models health`: who is sick, since when and why, for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.paths import Project
from mlops_cli.live.health.state import FleetHealth, Health, ModelHealth, State
from mlops_cli.live.watch.states import append_history, changes, write_states

DAY = date(2024, 1, 5)


@pytest.fixture
def project(tmp_path) -> Project:
    (tmp_path / "params.yaml").write_text("{}")
    return Project.at(tmp_path)


def run(project: Project, *arguments: str):
    return CliRunner().invoke(app, ["models", "health", "--project", str(project.root), *arguments])


def judged(project: Project) -> None:
    before = Health()
    first = {
        "main/red-aapl": ModelHealth(version="1", state=State.HEALTHY, since=DAY),
        "main/red-msft": ModelHealth(version="2", state=State.HEALTHY, since=DAY),
        "other/red-aapl": ModelHealth(version="3", since=DAY, reason="too new"),
    }
    broken = ModelHealth(version="2", state=State.BROKEN, since=DAY, reason="its errors grew", sessions=9)
    for models in (first, {**first, "main/red-msft": broken}):
        after = Health(session=DAY, models=models, fleet=FleetHealth(state=State.WATCH, since=DAY, reason="odd"))
        append_history(project, changes(before, after), datetime(2024, 1, 5, 21, 30, tzinfo=UTC))
        write_states(project, after)
        before = after


def test_before_the_first_pass_it_says_what_to_type(project):
    done = run(project)
    assert (done.exit_code, done.stderr) == (0, "nothing was judged yet: mlops live\n")


def test_the_sickest_come_first_below_the_fleet(project):
    judged(project)
    lines = run(project).stdout.splitlines()
    assert lines[0] == (
        "After the close of 2024-01-05: 1 broken, 1 healthy, 1 not judged. The fleet: watch since 2024-01-05: odd"
    )
    assert [line.split()[0] for line in lines[4:] if line.strip()] == ["broken", "not", "healthy"]
    assert "its errors grew" in run(project).stdout


def test_only_some_states_or_one_branch(project):
    judged(project)
    shown = json.loads(run(project, "--state", "broken", "--state", "healthy", "--json").stdout)
    assert [entry["model"] for entry in shown["models"]] == ["red-msft", "red-aapl"]
    shown = json.loads(run(project, "--branch", "other", "--json").stdout)
    assert [(entry["branch"], entry["state"]) for entry in shown["models"]] == [("other", "not judged")]


def test_an_unknown_state_is_a_usage_error(project):
    done = run(project, "--state", "sick")
    assert done.exit_code == 2
    assert "healthy, watch, broken, not judged" in done.stderr


def test_one_model_comes_with_its_history(project):
    judged(project)
    text = run(project, "red-msft").stdout
    assert "All changes of main/red-msft" in text
    (entry,) = json.loads(run(project, "red-msft", "--json").stdout)["models"]
    assert [(line["before"], line["after"]) for line in entry["history"]] == [(None, "healthy"), ("healthy", "broken")]
    assert (entry["since"], entry["version"], entry["sessions"]) == ("2024-01-05", "2", 9)


@pytest.mark.parametrize("name", ["red-aapl", "main/red-aapl"])
def test_a_name_in_two_branches(project, name):
    judged(project)
    shown = json.loads(run(project, name, "--json").stdout)["models"]
    assert len(shown) == (1 if "/" in name else 2)


def test_an_unknown_name_is_told_with_a_similar_one(project):
    judged(project)
    done = run(project, "red-mstf")
    assert done.exit_code == 3
    assert "red-msft" in done.stderr


def test_json_has_the_fleet_and_the_counts(project):
    judged(project)
    shown = json.loads(run(project, "--json").stdout)
    assert shown["session"] == "2024-01-05"
    assert shown["fleet"] == {"state": "watch", "since": "2024-01-05", "reason": "odd", "shock": False}
    assert shown["counts"] == {"broken": 1, "healthy": 1, "not judged": 1}


def test_damaged_states_say_what_to_do(project):
    judged(project)
    (project.live / "health.json").write_text("{")
    done = run(project)
    assert done.exit_code == 4
    assert "remove it" in done.stderr
