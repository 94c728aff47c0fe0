"""`mlops ingest` ... `evaluate`: one signature, the exit code of several branches, and what is printed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import typer
import typer.main

from mlops_cli.cli import stage_calls
from mlops_cli.cli.app import app
from mlops_cli.cli.pipeline.stages import exit_code, stage_command
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError, DataError, ServiceError
from mlops_cli.pipeline.stages.stage import StageReport, branch_lock
from mlops_cli.system.locks import file_lock
from tests.fakes.team_project import commands_on, team_project

PARAMS = (
    "branches: {a: {collection: [configs/red]}, b: {collection: [configs/blue]}}\n"
    "source: {kind: csv}\nsimulation: {scenario: mine}\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Branch a has red, branch b has blue."""
    return team_project(tmp_path, params=PARAMS)


def report(branch: str = "a", done: int = 0, codes: tuple[int, ...] = ()) -> StageReport:
    made = StageReport("train", branch, done=[f"done-{number}" for number in range(done)])
    for number, code in enumerate(codes):
        made.refuse(f"failed-{number}", f"reason {number}", code)
    return made


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([], 0),
        ([report(done=3)], 0),
        ([report(codes=(4, 4))], 4),
        ([report(codes=(4, 5))], 9),
        ([report(done=1, codes=(4,))], 9),
        ([report(codes=(4,)), report(codes=(4,))], 9),
        ([report(done=1), report(codes=(4,))], 9),
        ([report(done=1), report(done=1)], 0),
    ],
)
def test_the_exit_code(reports: list[StageReport], code: int) -> None:
    assert exit_code(reports) == code


def test_the_order_of_branches_does_not_matter() -> None:
    reports = [report(done=1), report(codes=(4,)), report(codes=(5, 6))]
    assert {exit_code(order) for order in itertools.permutations(reports)} == {9}


def test_the_four_commands_take_the_same_options() -> None:
    commands = typer.main.get_command(app).commands
    taken = {
        name: [(parameter.name, tuple(parameter.opts), parameter.default) for parameter in commands[name].params]
        for name in ("ingest", "featurize", "train", "evaluate")
    }
    assert len(taken["ingest"]) == 7
    assert all(options == taken["ingest"] for options in taken.values())
    assert len({commands[name].help for name in taken}) == 4


class Recorder:
    """A stage that only notes what it was asked for."""

    def __init__(self, *reports: StageReport) -> None:
        self.calls: list[tuple[str, str | None]] = []
        self._reports = iter(reports)

    def __call__(self, project: Project, branch, progress, only: str | None) -> StageReport:
        self.calls.append((branch.name, only))
        return next(self._reports, report(branch.name))


def test_a_stage_runs_once_for_each_chosen_branch(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Recorder(report("a", done=2), report("b", done=1))
    stage_command(stage)(project.root)
    assert stage.calls == [("a", None), ("b", None)]
    assert capsys.readouterr().out == (
        "train a: 2 done, 0 unchanged, 0 failed\ntrain b: 1 done, 0 unchanged, 0 failed\n"
    )


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"branch": "b"}, [("b", None)]),
        ({"only": "red-*"}, [("a", "red-*")]),
        ({"only": "*-aaa"}, [("a", "*-aaa"), ("b", "*-aaa")]),
        ({"branch": "a", "only": "red-aaa"}, [("a", "red-aaa")]),
    ],
)
def test_branch_and_only_choose(project: Project, options: dict[str, str], calls: list) -> None:
    stage = Recorder()
    stage_command(stage)(project.root, **options)
    assert stage.calls == calls


def test_failures_are_listed_and_the_others_were_done(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Recorder(report("a", codes=(4,)), report("b", done=1))
    with pytest.raises(typer.Exit) as raised:
        stage_command(stage)(project.root)
    assert raised.value.exit_code == 9
    assert "failed: failed-0 (train): reason 0\n" in capsys.readouterr().err
    assert len(stage.calls) == 2


def test_keep_going_lists_the_failures_and_ends_with_0(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    stage_command(Recorder(report("a", codes=(4,))))(project.root, branch="a", keep_going=True)
    assert "failed: failed-0" in capsys.readouterr().err


def test_the_reports_as_json(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Recorder(report("a", done=1, codes=(4,)))
    stage_command(stage)(project.root, branch="a", keep_going=True, as_json=True)
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed["done"] == ["done-0"]
    failure = {"model": "failed-0", "stage": "train", "reason": "reason 0", "exit_code": 4}
    assert printed["failures"] == [failure]


def test_set_is_written_before_the_stage_runs(project: Project) -> None:
    seen = []

    def stage(project: Project, branch, progress, only: str | None) -> StageReport:
        seen.append(branch.seed)
        return report(branch.name)

    stage_command(stage)(project.root, branch="a", assignments=["seed=42"])
    assert seen == [42]


def test_an_error_of_the_stage_comes_through(project: Project) -> None:
    def stage(*_: object) -> StageReport:
        raise DataError("no network")

    with pytest.raises(DataError, match="no network"):
        stage_command(stage)(project.root)


# what stands behind the commands


def test_branches_chosen_by_a_model_that_only_one_of_them_has(project: Project) -> None:
    assert [branch.name for branch in stage_calls.chosen_branches(project, None, "blue-aaa")] == ["b"]
    assert [branch.name for branch in stage_calls.chosen_branches(project, None)] == ["a", "b"]


def test_no_branch_at_all_says_how_to_add_one(tmp_path: Path) -> None:
    project = team_project(tmp_path, params="branches: {}\nsimulation: {scenario: mine}\n")
    with pytest.raises(ConfigError) as raised:
        stage_calls.chosen_branches(project, None)
    assert "there is none, so there is nothing to do" in raised.value.message
    assert raised.value.hint.startswith("add one: mlops run --set branches.main")


def test_missing_prices_are_each_models_own_failure(project: Project) -> None:
    done = commands_on(project)("ingest", "--branch", "a", "--json")
    assert done.exit_code == 4
    (printed,) = json.loads(done.stdout)
    assert [failure["model"] for failure in printed["failures"]] == ["red-aaa", "red-bbb"]


def test_a_second_run_is_refused_at_once(project: Project) -> None:
    for path in (project.pipeline, project.root / ".dvc"):
        path.touch()
    with file_lock(project.state / "run.lock", ServiceError("never")):
        done = commands_on(project)("run")
    assert done.exit_code == 8
    assert "another mlops run is in progress here" in done.stderr


def test_a_branch_that_is_locked_refuses_its_stage_and_no_other(project: Project) -> None:
    with branch_lock(project, "a", ConsoleProgress()):
        assert commands_on(project)("featurize", "--branch", "b").exit_code == 4
