"""`mlops run`: what is forced, what is listed as failed, and what is refused before DVC starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from filelock import FileLock

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Period
from mlops_cli.config.schemas.source import Source
from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.pipeline.dvc.run import STAGES, all_failures, forced_stages, new_run_key, repro
from mlops_cli.pipeline.stages.stage import ItemFailure, write_failures
from tests.fakes.branches import branch_of
from tests.fakes.train_jobs import model_spec

A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def branch() -> Branch:
    return branch_of(A, B)


def folder(project: Project, stage: str, branch: str = "main") -> Path:
    folders = {"ingest": project.prices, "featurize": project.features, "train": project.models}
    return {**folders, "evaluate": project.evaluation}[stage](branch)


def fail(project: Project, at: str, model: str = "red-a", noted_by: str | None = None, branch: str = "main") -> None:
    """Note a failure of stage `at`, in the folder of that stage or of a later one."""
    write_failures(folder(project, noted_by or at, branch), [ItemFailure(model, at, f"{at} failed", 4)])


class TestForced:
    def test_nothing_where_nothing_failed(self, project: Project, branch: Branch) -> None:
        assert forced_stages(project, [branch], with_simulate=True) == []

    @pytest.mark.parametrize("stage", STAGES)
    def test_the_stage_in_which_a_model_failed(self, project: Project, branch: Branch, stage: str) -> None:
        fail(project, stage)
        assert forced_stages(project, [branch], with_simulate=True) == [f"{stage}@main"]

    def test_several_in_the_order_of_the_pipeline(self, project: Project, branch: Branch) -> None:
        for stage in reversed(STAGES):
            fail(project, stage)
        assert forced_stages(project, [branch], with_simulate=False) == [f"{stage}@main" for stage in STAGES]

    def test_not_a_stage_that_only_carried_a_failure_on(self, project: Project, branch: Branch) -> None:
        fail(project, "ingest", noted_by="train")
        assert forced_stages(project, [branch], with_simulate=True) == [], "its own note says it is solved"

    def test_not_for_a_model_that_left_the_branch(self, project: Project, branch: Branch) -> None:
        fail(project, "train", model="red-gone")
        assert forced_stages(project, [branch], with_simulate=True) == []

    def test_each_branch_for_itself(self, project: Project, branch: Branch) -> None:
        second = replace(branch, name="second")
        fail(project, "train", branch="second")
        assert forced_stages(project, [branch, second], with_simulate=True) == ["train@second"]
        assert forced_stages(project, [branch], with_simulate=True) == []

    def test_simulate_where_a_model_could_not_be_retrained_and_only_if_it_is_run(
        self, project: Project, branch: Branch
    ) -> None:
        write_failures(project.report("mine"), [ItemFailure("red-a", "simulate", "no memory", 5)])
        assert forced_stages(project, [branch], with_simulate=True) == ["simulate"]
        assert forced_stages(project, [branch], with_simulate=False) == []
        other = replace(branch, scenario="another")
        assert forced_stages(project, [other], with_simulate=True) == []

    def test_ingest_of_a_service_whose_prices_go_on(self, project: Project, branch: Branch) -> None:
        yahoo = replace(branch, source=Source(kind="yfinance"))
        assert forced_stages(project, [yahoo], with_simulate=True) == [], "DVC runs a stage that never ran by itself"
        project.prices("main").mkdir(parents=True)
        assert forced_stages(project, [yahoo], with_simulate=True) == ["ingest@main"]
        ended = replace(yahoo, period=Period(end=date(2020, 1, 2)))
        assert forced_stages(project, [ended], with_simulate=True) == []
        assert forced_stages(project, [branch], with_simulate=True) == [], "DVC sees when files change"

    @pytest.mark.parametrize(
        ("kind", "forced"), [("alpaca", True), ("yfinance", True), ("csv", False), ("auto", False)]
    )
    def test_ingest_of_a_service_whose_dividends_go_on(
        self, project: Project, branch: Branch, kind: str, forced: bool
    ) -> None:
        project.prices("main").mkdir(parents=True)
        asks = replace(branch, source=Source.model_validate({"kind": "csv", "actions": {"kind": kind}}))
        assert forced_stages(project, [asks], with_simulate=True) == (["ingest@main"] if forced else [])


class TestFailures:
    def test_none_where_nothing_ran(self, project: Project, branch: Branch) -> None:
        assert all_failures(project, [branch]) == []

    def test_a_model_is_listed_once_with_its_first_cause(self, project: Project, branch: Branch) -> None:
        for stage in ("ingest", "train"):
            fail(project, stage)
        (failure,) = all_failures(project, [branch])
        assert (failure.model, failure.stage) == ("red-a", "ingest")

    def test_a_copy_in_a_later_stages_notes_does_not_count(self, project: Project, branch: Branch) -> None:
        fail(project, "ingest", noted_by="evaluate")
        assert all_failures(project, [branch]) == []

    def test_the_same_model_in_two_branches_is_listed_twice(self, project: Project, branch: Branch) -> None:
        fail(project, "train")
        fail(project, "train", branch="second")
        assert len(all_failures(project, [branch, replace(branch, name="second")])) == 2

    def test_what_could_not_be_retrained_comes_last_and_once_per_scenario(
        self, project: Project, branch: Branch
    ) -> None:
        fail(project, "train", model="red-b")
        write_failures(project.report("mine"), [ItemFailure("red-a", "simulate", "no memory", 5)])
        failures = all_failures(project, [branch, replace(branch, name="second")])
        assert [failure.stage for failure in failures] == ["train", "simulate"]


class TestRefused:
    def test_without_a_branch_there_is_nothing_to_run(self, project: Project) -> None:
        with pytest.raises(ConfigError, match="branches: there is none"):
            repro(project, [], "key")

    def test_a_branch_that_is_not_there(self, project: Project, branch: Branch) -> None:
        with pytest.raises(ConfigError, match="branches: there is none"):
            repro(project, [branch], "key", "other")

    def test_a_project_without_its_pipeline_or_without_dvc(self, project: Project, branch: Branch) -> None:
        with pytest.raises(ConfigError, match=r"dvc\.yaml is missing") as caught:
            repro(project, [branch], "key")
        assert "mlops init" in caught.value.hint
        project.pipeline.touch()
        with pytest.raises(ConfigError, match=r"\.dvc is missing") as caught:
            repro(project, [branch], "key")
        assert "dvc init" in caught.value.hint

    def test_a_second_run_at_the_same_time(self, project: Project, branch: Branch) -> None:
        project.state.mkdir()
        with FileLock(project.state / "run.lock"), pytest.raises(ServiceError, match="another mlops run"):
            repro(project, [branch], "key")

    def test_the_lock_is_free_after_a_refusal(self, project: Project, branch: Branch) -> None:
        for _ in range(2):
            with pytest.raises(ConfigError):
                repro(project, [branch], "key")


def test_every_run_has_a_key_of_its_own_that_a_tracker_can_search_for() -> None:
    keys = {new_run_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(key.isalnum() for key in keys)
