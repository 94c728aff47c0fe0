"""Live versions are trained on everything known before a day, each training once, and installed by one rename."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.store import check_files
from mlops_cli.models.versions import Champion, answering_version, champion, model_versions, write_champion
from mlops_cli.pipeline.stages.shrink import group_constants, validation_forecasts
from mlops_cli.pipeline.stages.stage import ItemFailure
from mlops_cli.pipeline.stages.tables import read_table, write_table
from mlops_cli.pipeline.stages.train_plan import model_rows, plan_model
from mlops_cli.pipeline.versions.live_install import StagedVersion, install_live
from mlops_cli.pipeline.versions.live_training import LiveTraining, train_live
from tests.fakes.branches import Progress, branch_of, write_features
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.train_jobs import model_spec
from tests.fakes.trained_models import trained_branch

DAY = date(2016, 3, 1)
A, B, C = (model_spec(f"red-{ticker}", ticker=ticker.upper()) for ticker in "abc")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def training(project: Project, branch: Branch, trainer: LinearTrainer, day: date = DAY) -> LiveTraining:
    return LiveTraining(project, branch, day, lambda _, kind: trainer, Progress())


def train(
    project: Project, branch: Branch, names: Sequence[str], trainer: LinearTrainer | None = None, day: date = DAY
) -> dict[str, StagedVersion]:
    """The staged versions by name; no training may fail."""
    results = list(train_live(training(project, branch, trainer or LinearTrainer(), day), names))
    assert all(isinstance(result, StagedVersion) for result in results), results
    return {result.name: result for result in results if isinstance(result, StagedVersion)}


def install(project: Project, branch: Branch, staged: StagedVersion, promotion: str = "always") -> str:
    return install_live(project, branch, staged, promotion, "a test asks for it")  # type: ignore[arg-type]


def versions(project: Project, name: str) -> list[str]:
    return [version.version for version in model_versions(project.model_root, "main", name)]


def record(project: Project, name: str = "red-a") -> Champion:
    return champion(project.model_root, "main", name)


def test_a_version_is_trained_on_all_closes_before_the_day(project: Project) -> None:
    branch = trained_branch(project, A)
    staged = train(project, branch, ["red-a"])["red-a"]
    table = read_table(project.features("main"), "red-a")
    known = table.loc[(table["target_session"] < pd.Timestamp(DAY)) & table["target"].notna()]
    assert staged.manifest.trained_until == known["target_session"].iloc[-1].date()
    assert staged.manifest.trained_until == DAY - timedelta(days=1)
    assert staged.manifest.train.sessions + staged.manifest.validation_rows.sessions == len(known)
    assert staged.manifest.live
    assert staged.manifest.shrinkage is not None
    check_files(staged.folder, staged.manifest)


def test_what_comes_on_or_after_the_day_changes_nothing(project: Project) -> None:
    branch = trained_branch(project, A)
    before = train(project, branch, ["red-a"])["red-a"].manifest
    table = read_table(project.features("main"), "red-a")
    later = table["target_session"] >= pd.Timestamp(DAY)
    table.loc[later, ["target", "next_close"]] *= 3.0
    write_table(project.features("main"), "red-a", table)
    after = train(project, branch, ["red-a"])["red-a"].manifest
    assert (after.version, after.fingerprint, after.rows) == (before.version, before.fingerprint, before.rows)
    table.loc[~later, ["target", "next_close"]] *= 1.01
    write_table(project.features("main"), "red-a", table)
    assert train(project, branch, ["red-a"])["red-a"].manifest.rows != before.rows


def test_only_the_models_asked_for_are_trained(project: Project) -> None:
    branch = trained_branch(project, A, B)
    trainer = LinearTrainer()
    assert list(train(project, branch, ["red-b"], trainer)) == ["red-b"]
    assert trainer.trained == ["red-b"]


def test_the_shrinkage_is_chosen_on_the_whole_group(project: Project) -> None:
    """The models that are not trained contribute the forecasts of the version that answers."""
    branch = trained_branch(project, A, B, C)
    features = project.features("main")
    staged = train(project, branch, ["red-a"])["red-a"]
    own = branch_of(A, B, C)
    alone = Project(project.root / "alone")
    write_features(alone.features("main"), A, seed=0)
    lone = train(alone, branch_of(A), ["red-a"])["red-a"]
    forecasts = []
    for spec, folder in ((A, staged.folder), (B, None), (C, None)):
        split, inputs = model_rows(features, own, DAY, spec)
        forecasts.append(validation_forecasts(folder or project.models("main") / spec.name, split, inputs))
    expected, just_own = (group_constants(own, A, part)[0] for part in (forecasts, forecasts[:1]))
    assert (staged.manifest.shrinkage, staged.manifest.validation) == (expected.shrinkage, expected.validation)
    assert (lone.manifest.shrinkage, lone.manifest.validation) == (just_own.shrinkage, just_own.validation)


def test_a_version_that_was_trained_on_the_rows_that_validate_says_nothing(project: Project) -> None:
    branch = trained_branch(project, A, B)
    for staged in train(project, branch, ["red-a", "red-b"]).values():
        install(project, branch, staged)
    earlier = date(2015, 10, 1)
    staged = train(project, branch, ["red-a"], day=earlier)["red-a"]
    split, inputs = model_rows(project.features("main"), branch, earlier, A)
    own = [validation_forecasts(staged.folder, split, inputs)]
    assert staged.manifest.validation == group_constants(branch, A, own)[0].validation


def test_a_killed_training_goes_on_with_what_was_finished(project: Project) -> None:
    branch = trained_branch(project, A, B, C)
    names = ["red-a", "red-b", "red-c"]
    whole = {
        name: staged.manifest
        for name, staged in train(
            Project(project.root / "other"), trained_branch(Project(project.root / "other"), A, B, C), names
        ).items()
    }
    with pytest.raises(KeyboardInterrupt):
        list(train_live(training(project, branch, LinearTrainer(interrupt_after=2)), names))
    trainer = LinearTrainer()
    staged = train(project, branch, names, trainer)
    assert trainer.trained == ["red-c"]
    assert {name: each.manifest for name, each in staged.items()} == whole


def test_a_finished_training_that_nobody_installed_is_used_again(project: Project) -> None:
    branch = trained_branch(project, A)
    first = train(project, branch, ["red-a"])["red-a"]
    trainer = LinearTrainer()
    second = train(project, branch, ["red-a"], trainer)["red-a"]
    assert trainer.trained == []
    assert first.folder != second.folder
    assert first.manifest == second.manifest


def test_after_the_installation_nothing_is_left_and_old_leftovers_go(project: Project) -> None:
    branch = trained_branch(project, A, B)
    staged = train(project, branch, ["red-a"])["red-a"]
    forgotten = train(project, branch, ["red-b"])["red-b"]
    install(project, branch, staged)
    staging = project.live_staging("main")
    assert {path.name.split("@")[0][:5] for path in staging.iterdir()} == {"red-b"}
    for path in staging.iterdir():
        os.utime(path, (time.time() - 3 * 86_400,) * 2)
    train(project, branch, [])
    assert list(staging.iterdir()) == []
    with pytest.raises(ModelError, match="is gone"):
        install(project, branch, forgotten)


def test_a_model_that_cannot_be_trained_is_reported_and_the_others_are_trained(project: Project) -> None:
    branch = trained_branch(project, A, B)
    results = list(train_live(training(project, branch, LinearTrainer(refuse=("red-a",))), ["red-a", "red-b", "red-x"]))
    failed = {result.model: result for result in results if isinstance(result, ItemFailure)}
    assert {result.name for result in results if isinstance(result, StagedVersion)} == {"red-b"}
    assert failed["red-a"].reason == "red-a: refused by the test"
    assert "no model of branch main" in failed["red-x"].reason


def test_too_few_rows_are_a_failure(project: Project) -> None:
    branch = trained_branch(project, A)
    (result,) = train_live(training(project, branch, LinearTrainer(), date(2015, 2, 1)), ["red-a"])
    assert isinstance(result, ItemFailure)
    assert "history too short" in result.reason


def test_a_pool_is_trained_whole(project: Project) -> None:
    pool = [spec.model_copy(update={"pool": ("A", "B")}) for spec in (A, B)]
    branch = branch_of(*pool, C)
    for seed, spec in enumerate(branch.models):
        write_features(project.features("main"), spec, seed=seed)
    trainer = LinearTrainer()
    staged = train(project, branch, ["red-b"], trainer)
    assert sorted(staged) == ["red-a", "red-b"]
    assert sorted(trainer.trained) == ["red-a", "red-b"]
    own = plan_model(project.features("main"), branch, DAY, pool[0], None)
    assert staged["red-a"].manifest.fingerprint != own.mark  # it depends on the other member
    assert staged["red-a"].manifest.rows == own.rows


def test_facts_are_noted_beside_those_of_the_trainer(project: Project) -> None:
    branch = trained_branch(project, A)
    (staged,) = train_live(training(project, branch, LinearTrainer()), ["red-a"], {"red-a": {"job": 7}})
    assert isinstance(staged, StagedVersion)
    assert staged.manifest.facts == {"job": 7}
    install(project, branch, staged)
    assert model_versions(project.model_root, "main", "red-a")[0].manifest.facts == {"job": 7}


def test_the_note_of_settings_is_that_of_the_config(project: Project) -> None:
    branch = trained_branch(project, A)
    first = train(project, branch, ["red-a"])["red-a"].manifest
    again = train(project, branch, ["red-a"], day=DAY - timedelta(days=7))["red-a"].manifest
    other = train(project, replace(branch, seed=8), ["red-a"])["red-a"].manifest
    assert first.settings == again.settings != other.settings
    assert first.rows != again.rows
    assert first.rows == other.rows


def test_always_makes_the_fresh_version_champion_and_says_why(project: Project) -> None:
    branch = trained_branch(project, A)
    (own,) = versions(project, "red-a")
    new = install(project, branch, train(project, branch, ["red-a"])["red-a"])
    assert versions(project, "red-a") == [new, own]
    assert record(project) == Champion(new, False, (own,), "live", "fresher: a test asks for it")


def test_always_leaves_a_pin_by_hand_and_removes_its_own(project: Project) -> None:
    branch = trained_branch(project, A)
    (own,) = versions(project, "red-a")
    for by, answers_then in (("hand", own), (None, own), ("live", None), ("skill", None)):
        before = Champion(own, True, (), by)  # type: ignore[arg-type]
        write_champion(project.model_root, "main", "red-a", before)
        new = install(project, branch, train(project, branch, ["red-a"])["red-a"])
        assert answering_version(project.model_root, "main", "red-a").version == (answers_then or new)
        assert (record(project) == before) == (answers_then is not None)


def test_tested_pins_what_answered_before(project: Project) -> None:
    branch = trained_branch(project, A)
    (own,) = versions(project, "red-a")
    new = install(project, branch, train(project, branch, ["red-a"])["red-a"], "tested")
    assert versions(project, "red-a") == [new, own]
    assert answering_version(project.model_root, "main", "red-a").version == own
    assert (record(project).pinned, record(project).by) == (True, "live")
    later = install(project, branch, train(project, branch, ["red-a"], day=date(2016, 3, 10))["red-a"], "tested")
    assert versions(project, "red-a") == [later, new, own]
    assert answering_version(project.model_root, "main", "red-a").version == own


def test_the_first_version_of_a_model_answers_under_both_policies(project: Project) -> None:
    branch = branch_of(A, B)
    for spec, promotion in ((A, "always"), (B, "tested")):
        write_features(project.features("main"), spec)
        new = install(project, branch, train(project, branch, [spec.name])[spec.name], promotion)
        assert answering_version(project.model_root, "main", spec.name).version == new
        assert record(project, spec.name).version == new
        assert not record(project, spec.name).pinned


def test_two_processes_with_the_same_training_install_it_once(project: Project) -> None:
    branch = trained_branch(project, A)
    staged = train(project, branch, ["red-a"])["red-a"]
    new = install(project, branch, staged)
    assert install(project, branch, staged) == new
    assert versions(project, "red-a")[0] == new
    assert len(versions(project, "red-a")) == 2


def test_so_many_versions_are_kept_as_the_branch_says(project: Project) -> None:
    branch = replace(trained_branch(project, A), keep_versions=2)
    days = [DAY + timedelta(days=number) for number in range(0, 10, 2)]
    new = [install(project, branch, train(project, branch, ["red-a"], day=day)["red-a"]) for day in days]
    own = read_manifest(project.models("main") / "red-a").version
    assert versions(project, "red-a") == [new[-1], new[-2], own]


def test_after_a_kill_between_two_installations_the_constants_are_those_of_the_whole_group(project: Project) -> None:
    """The version that answers has changed by then, from which others would be chosen."""
    branch = trained_branch(project, A, B, C)
    whole = {name: each.manifest for name, each in train(project, branch, ["red-a", "red-b"]).items()}
    staged = train(project, branch, ["red-a", "red-b"])
    install(project, branch, staged["red-a"])
    rest = train(project, branch, ["red-b"], LinearTrainer(refuse=("red-b",)))  # it is trained already
    assert rest["red-b"].manifest == whole["red-b"]
