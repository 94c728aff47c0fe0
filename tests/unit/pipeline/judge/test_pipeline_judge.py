"""`evaluate` and `simulate` over models that were made without training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Scenario
from mlops_cli.errors import DataError, ModelError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.versions import Champion, move_to_archive, write_champion
from mlops_cli.pipeline.judge.judge import Simulation, evaluate, simulate
from mlops_cli.pipeline.stages.stage import ItemFailure, StageReport, read_failures, write_failures
from mlops_cli.tracking.tracker import ModelKey, NullTracker, RunContext, Tracking
from tests.fakes.branches import Progress, branch_of, write_features
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.train_jobs import model_spec
from tests.fakes.trained_models import START, trained_branch, trained_model

A, B = model_spec("red-a", ticker="A"), model_spec("blue-b", team="blue", ticker="B")
SCENARIO = Scenario(start=START, days=60)


class Recorder(NullTracker):
    """Tracker port: remembers what was tested."""

    def __init__(self) -> None:
        self.metrics: dict[ModelKey, Mapping[str, float]] = {}
        self.contexts: list[RunContext] = []

    def record_test(self, metrics: Mapping[ModelKey, Mapping[str, float]], context: RunContext) -> None:
        self.metrics.update(metrics)
        self.contexts.append(context)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def branch(project: Project) -> Branch:
    return trained_branch(project, A, B)


def judged(project: Project) -> list[dict]:
    return json.loads((project.evaluation("main") / "models.json").read_text())


class TestSimulation:
    @pytest.mark.parametrize(
        ("patterns", "only", "included"),
        [
            (("*",), None, True),
            (("red-*",), None, True),
            (("blue-*",), None, False),
            (("blue-*", "red-a"), None, True),
            (("*",), "red-?", True),
            (("*",), "blue-*", False),
            (("blue-*",), "red-a", False),
            ((), None, False),
        ],
    )
    def test_a_model_is_included_where_scenario_and_only_both_name_it(
        self, patterns: tuple[str, ...], only: str | None, included: bool
    ) -> None:
        scenario = Scenario(start=START, models=patterns)
        assert Simulation("mine", scenario, only).includes("red-a") is included


class TestEvaluate:
    def run(
        self, project: Project, branch: Branch, only: str | None = None, tracker: NullTracker | None = None
    ) -> StageReport:
        tracking = Tracking(tracker or NullTracker(), RunContext("key"))
        return evaluate(project, branch, SCENARIO, tracking, Progress(), only)

    def test_every_model_is_judged_to_the_end_of_the_data_and_tracked(self, project: Project, branch: Branch) -> None:
        tracker = Recorder()
        report = self.run(project, branch, tracker=tracker)
        assert (report.done, report.failures, report.notes) == (["red-a", "blue-b"], [], [])
        rows = {row["model"]: row for row in judged(project)}
        assert {name for name, _ in tracker.metrics} == rows.keys()
        assert tracker.contexts == [RunContext("key")]
        for (name, _), metrics in tracker.metrics.items():
            assert metrics["mae"] == rows[name]["mae"]
            assert "verdict" not in metrics, "a tracker takes numbers only"
            assert not any(isinstance(value, bool) for value in metrics.values())

    def test_an_unfinished_model_is_reported_with_the_first_cause(self, project: Project, branch: Branch) -> None:
        first = ItemFailure("blue-b", "train", "no memory", 5)
        write_failures(project.models("main"), [first])
        (project.models("main") / "blue-b" / "model.onnx").unlink()
        report = self.run(project, branch)
        assert (report.done, report.failures) == (["red-a"], [first])
        assert read_failures(project.evaluation("main")) == [first]
        assert [row["model"] for row in judged(project)] == ["red-a"]

    def test_where_nothing_is_trained_the_files_are_there_for_dvc(self, project: Project) -> None:
        write_features(project.features("main"), A)
        report = self.run(project, branch_of(A))
        assert report.exit_code == 6
        assert judged(project) == []
        assert (project.evaluation("main") / "forecasts.parquet").is_file()

    def test_a_part_leaves_the_figures_of_the_others(self, project: Project, branch: Branch) -> None:
        self.run(project, branch)
        before = judged(project)
        (project.features("main") / "red-a.parquet").unlink()
        report = self.run(project, branch, only="blue-*")
        assert report.failures == [], "the other one is not touched"
        assert judged(project) == before

    def test_a_pinned_version_is_judged_beside_the_newest(self, project: Project, branch: Branch) -> None:
        pinned = judged_version(project, branch, pinned=True)
        report = self.run(project, branch)
        rows = [row for row in judged(project) if row["model"] == "red-a"]
        assert report.notes == []
        assert [row.get("pinned", False) for row in rows] == [False, True]
        assert rows[1]["version"] == pinned
        assert rows[0]["version"] != pinned

    def test_a_champion_that_is_not_pinned_is_not_judged(self, project: Project, branch: Branch) -> None:
        judged_version(project, branch, pinned=False)
        self.run(project, branch)
        assert len([row for row in judged(project) if row["model"] == "red-a"]) == 1

    def test_a_damaged_record_of_the_champion_is_a_note_not_a_failure(self, project: Project, branch: Branch) -> None:
        path = project.model_root / ".versions" / "main" / "red-a" / "champion.json"
        path.parent.mkdir(parents=True)
        path.write_text("{")
        report = self.run(project, branch)
        assert report.exit_code == 0
        (note,) = report.notes
        assert note.startswith("red-a: its pinned version cannot be judged:")


def judged_version(project: Project, branch: Branch, *, pinned: bool) -> str:
    """Make the version of red-a the champion, and another graph the newest version; the champion's name."""
    newest = project.models("main") / "red-a"
    version = read_manifest(newest).version
    assert move_to_archive(newest)
    trained_model(project, branch, A, graph=linear_graph(np.array([0.1, 0.2, 0.3]), 0.0))
    write_champion(project.model_root, "main", "red-a", Champion(version, pinned=pinned))
    return version


class TestSimulate:
    def test_summary_report_and_metrics_are_of_all_models(self, project: Project, branch: Branch) -> None:
        summary, report = simulate(project, [branch], Simulation("mine", SCENARIO), Progress())
        assert [row["model"] for row in summary["models"]] == ["blue-b", "red-a"]
        asked = {"name": "mine", "start": "2016-01-04", "days": 60, "models": ["*"]}
        filled = {"sessions": 42, "replayed": 42, "last_session": "2016-03-03", "filled": True, "short_models": {}}
        assert summary["scenario"] == asked | filled
        assert summary["repaired_prices"] == {}
        assert report.done == ["red-a", "blue-b"]
        folder = project.report("mine")
        assert json.loads((folder / "summary.json").read_text()) == summary
        assert json.loads((folder / "metrics.json").read_text())["mae"] == summary["pooled"]["mae"]

    @pytest.mark.parametrize("changes", [{"write": False}, {"only": "red-*"}])
    def test_a_part_writes_nothing(self, project: Project, branch: Branch, changes: dict) -> None:
        simulate(project, [branch], Simulation("mine", SCENARIO, **changes), Progress())
        assert not project.report("mine").exists()

    def test_a_model_of_two_branches_is_named_with_its_branch(self, project: Project, branch: Branch) -> None:
        second = replace(branch_of(A), name="second")
        write_features(project.features("second"), A)
        trained_model(project, second, A)
        simulation = Simulation("mine", SCENARIO, write=False)
        summary, _ = simulate(project, [branch, second], simulation, Progress())
        assert [row["model"] for row in summary["models"]] == ["blue-b", "main/red-a", "second/red-a"]

    def test_models_that_cannot_be_opened_are_reported_with_the_first_cause(
        self, project: Project, branch: Branch
    ) -> None:
        write_failures(project.models("main"), [ItemFailure("red-a", "ingest", "A: no such ticker", 4)])
        (project.models("main") / "red-a" / "manifest.json").unlink()
        summary, report = simulate(project, [branch], Simulation("mine", SCENARIO, write=False), Progress())
        assert [row["model"] for row in summary["models"]] == ["blue-b"]
        assert [(failure.model, failure.stage) for failure in report.failures] == [("red-a", "ingest")]

    def test_nothing_to_replay_says_why(self, project: Project, branch: Branch) -> None:
        with pytest.raises(ModelError, match="names none of the collection's models"):
            simulate(project, [branch], Simulation("mine", Scenario(start=START, models=("green-*",))), Progress())
        with pytest.raises(ModelError, match=r"no model could be replayed: .*was trained on closes"):
            simulate(project, [branch], Simulation("mine", Scenario(start=date(2015, 12, 1))), Progress())
        with pytest.raises(DataError, match="no session with a known close"):
            simulate(project, [branch], Simulation("mine", Scenario(start=date(2020, 1, 2), days=3)), Progress())
