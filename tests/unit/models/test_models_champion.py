"""Promotion and rollback as a person decides."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.config.paths import Project
from mlops_cli.errors import ModelError
from mlops_cli.models.graph import constant_return_graph
from mlops_cli.models.promotion import Change, promote, rollback
from mlops_cli.models.store import install
from mlops_cli.models.versions import (
    Champion,
    answering_version,
    champion,
    model_versions,
    write_champion,
)
from tests.fakes.model_folders import INPUTS, model_folder

BRANCH, NAME = "main", "red-acme"


def project_with(root: Path, count: int) -> tuple[Project, list[str]]:
    """A project in which a model was trained so many times; its versions, oldest first."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text("branches: {main: {collection: [configs]}}\n")
    project = Project.at(root)
    for number in range(count):
        staged = model_folder(root / "made" / str(number), NAME, constant_return_graph(len(INPUTS), 0.001 * number))
        install(staged, project.model_root / BRANCH / NAME, keep=10)
    return project, [folder.version for folder in reversed(model_versions(project.model_root, BRANCH, NAME))]


def record(project: Project) -> Champion:
    return champion(project.model_root, BRANCH, NAME)


def answers(project: Project) -> str:
    return answering_version(project.model_root, BRANCH, NAME).version


def test_promoting_the_newest_does_not_pin_it(tmp_path: Path) -> None:
    project, (first, _, third) = project_with(tmp_path, 3)
    assert promote(project, BRANCH, NAME) == Change(BRANCH, NAME, first, third, pinned=False)
    assert record(project) == Champion(third, False, (first,), "hand")


def test_promoting_a_version_pins_it(tmp_path: Path) -> None:
    project, (first, second, _) = project_with(tmp_path, 3)
    assert promote(project, BRANCH, NAME, second[:5]) == Change(BRANCH, NAME, first, second, pinned=True)
    assert answers(project) == second


def test_promoting_the_newest_undoes_a_pin(tmp_path: Path) -> None:
    project, (first, second) = project_with(tmp_path, 2)
    promote(project, BRANCH, NAME, first)
    assert answers(project) == first
    promote(project, BRANCH, NAME)
    assert (answers(project), record(project).pinned) == (second, False)


def test_promoting_the_champion_again_adds_no_history(tmp_path: Path) -> None:
    project, (first, _) = project_with(tmp_path, 2)
    promote(project, BRANCH, NAME, first)
    promote(project, BRANCH, NAME, first)
    assert record(project) == Champion(first, True, (), "hand")


@pytest.mark.parametrize("start", ["", "zzz", " "])
def test_a_version_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, start: str) -> None:
    project, (first, second) = project_with(tmp_path, 2)
    with pytest.raises(ModelError, match="matches no kept version") as caught:
        promote(project, BRANCH, NAME, start)
    assert f"{second} (trained until 2015-12-31), {first}" in caught.value.hint
    assert record(project) == Champion(first, False, ()), "nothing changed"


def test_a_start_that_fits_two_versions_is_refused(tmp_path: Path) -> None:
    project, versions = project_with(tmp_path, 18)  # more than there are hex digits: two begin alike
    digits = [version[0] for version in versions]
    common = next(digit for digit in digits if digits.count(digit) > 1)
    kept = [folder.version for folder in model_versions(project.model_root, BRANCH, NAME)]
    if sum(version.startswith(common) for version in kept) > 1:
        with pytest.raises(ModelError, match="matches more than one"):
            promote(project, BRANCH, NAME, common)


@pytest.mark.parametrize("act", [promote, lambda *where: rollback(*where, routed=False)])
def test_a_model_that_was_never_trained_is_refused(tmp_path: Path, act) -> None:
    project, _ = project_with(tmp_path, 0)
    with pytest.raises(ModelError, match="there is no finished version in branch main") as caught:
        act(project, BRANCH, NAME)
    assert caught.value.hint == "train it: mlops run"


def test_a_rollback_pins_the_version_before_the_newest_where_the_newest_answers(tmp_path: Path) -> None:
    project, (first, second, third) = project_with(tmp_path, 3)
    assert rollback(project, BRANCH, NAME, routed=False) == Change(BRANCH, NAME, third, second, pinned=True)
    assert answers(project) == second
    assert rollback(project, BRANCH, NAME, routed=False).after == first
    with pytest.raises(ModelError, match=f"no version before {first} is kept"):
        rollback(project, BRANCH, NAME, routed=False)
    assert answers(project) == first


def test_a_rollback_of_a_pinned_champion_goes_to_the_champion_before(tmp_path: Path) -> None:
    project, (first, second, third) = project_with(tmp_path, 3)
    promote(project, BRANCH, NAME, third)
    promote(project, BRANCH, NAME, second)
    assert record(project).history == (first, third)
    assert rollback(project, BRANCH, NAME, routed=False).after == third
    assert rollback(project, BRANCH, NAME, routed=False).after == first, "it goes further back, not to and fro"


def test_with_a_route_the_champion_answers_and_is_rolled_back(tmp_path: Path) -> None:
    project, (first, second, third) = project_with(tmp_path, 3)
    write_champion(project.model_root, BRANCH, NAME, Champion(second, False, (first,)))
    change = rollback(project, BRANCH, NAME, routed=True)
    assert (change.before, change.after) == (second, first)
    assert answers(project) == first
    assert third in [folder.version for folder in model_versions(project.model_root, BRANCH, NAME)]


def test_a_champion_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    project, (first, second) = project_with(tmp_path, 2)
    write_champion(project.model_root, BRANCH, NAME, Champion("gone", True, ("gone too",)))
    assert rollback(project, BRANCH, NAME, routed=False) == Change(BRANCH, NAME, second, first, pinned=True)


@given(st.lists(st.sampled_from(["newest", "first", "second", "back"]), max_size=6))
@settings(max_examples=15, deadline=None)
def test_after_any_decisions_a_kept_version_answers_and_rollbacks_end(
    tmp_path_factory: pytest.TempPathFactory, decisions: list[str]
) -> None:
    project, versions = project_with(tmp_path_factory.mktemp("p"), 3)
    for decision in decisions:
        if decision == "back":
            with contextlib.suppress(ModelError):  # nothing earlier is kept
                rollback(project, BRANCH, NAME, routed=False)
        else:
            promote(project, BRANCH, NAME, {"newest": None, "first": versions[0], "second": versions[1]}[decision])
        assert answers(project) in versions
    steps = 0
    with contextlib.suppress(ModelError):
        while True:
            before = answers(project)
            assert rollback(project, BRANCH, NAME, routed=False).before == before
            assert answers(project) != before
            steps += 1
    assert steps <= len(decisions) + len(versions)
