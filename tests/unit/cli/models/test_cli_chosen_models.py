"""--branch, --only and MODEL: which configured models they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.cli.models.chosen_models import branches_of, chosen_models, models_named, the_model_named
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from tests.fakes.team_project import ALL, team_project

TWO = "branches: {a: {collection: [configs/red]}, b: {collection: [configs/red, configs/blue]}}\n"
PARAMS = TWO + "source: {kind: csv}\nsimulation: {scenario: mine}\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Branch a has red, branch b has red and blue."""
    return team_project(tmp_path, params=PARAMS)


def names(project: Project, branch: str | None, only: str | None) -> dict[str, list[str]]:
    return {holder.name: [spec.name for spec in specs] for holder, specs in chosen_models(project, branch, only)}


def test_without_options_all_models_of_all_branches(project: Project) -> None:
    assert names(project, None, None) == {"a": ["red-aaa", "red-bbb"], "b": list(ALL)}


@pytest.mark.parametrize(
    ("branch", "only", "chosen"),
    [
        ("a", None, {"a": ["red-aaa", "red-bbb"]}),
        (None, "blue-*", {"a": [], "b": ["blue-aaa", "blue-bbb"]}),
        (None, "*-aaa", {"a": ["red-aaa"], "b": ["red-aaa", "blue-aaa"]}),
        ("b", "red-aaa", {"b": ["red-aaa"]}),
        (None, "red-[a]*", {"a": ["red-aaa"], "b": ["red-aaa"]}),
    ],
)
def test_branch_and_only_together(project: Project, branch: str | None, only: str | None, chosen: dict) -> None:
    assert names(project, branch, only) == chosen


@pytest.mark.parametrize("only", ["RED-*", "red", "", "green-*", "red-aaa "])
def test_a_glob_that_matches_nothing_names_the_models(project: Project, only: str) -> None:
    with pytest.raises(ConfigError) as raised:
        chosen_models(project, None, only)
    assert raised.value.message == f"--only {only}: no model of that name"
    assert raised.value.hint.startswith("models: red-aaa, red-bbb")


def test_the_names_are_those_of_the_branch_asked_for(project: Project) -> None:
    with pytest.raises(ConfigError) as raised:
        chosen_models(project, "a", "blue-*")
    assert raised.value.hint == "models: red-aaa, red-bbb"


def test_an_unknown_branch(project: Project) -> None:
    with pytest.raises(ConfigError, match="c"):
        branches_of(project, "c")
    assert [branch.name for branch in branches_of(project, None)] == ["a", "b"]


def test_a_project_without_branches_has_no_models_and_that_is_no_mistake(tmp_path: Path) -> None:
    project = team_project(tmp_path, params="branches: {}\nsimulation: {scenario: mine}\n")
    assert chosen_models(project, None, None) == []
    with pytest.raises(ConfigError):
        chosen_models(project, None, "red-*")


def test_a_model_of_two_branches_is_named_twice(project: Project) -> None:
    assert [branch.name for branch, _ in models_named(project, None, "red-aaa")] == ["a", "b"]
    assert [branch.name for branch, _ in models_named(project, "b", "red-aaa")] == ["b"]


def test_the_only_model_of_a_name(project: Project) -> None:
    assert the_model_named(project, None, "blue-aaa") == ("b", "blue-aaa")
    assert the_model_named(project, "a", "red-aaa") == ("a", "red-aaa")
    with pytest.raises(ConfigError) as raised:
        the_model_named(project, None, "red-aaa")
    assert raised.value.message == "red-aaa is in the branches a, b"
    assert raised.value.hint == "say which: --branch a"


def test_a_misspelt_model_gets_a_suggestion(project: Project) -> None:
    with pytest.raises(ConfigError, match=r"no model 'red-aab' in params\.yaml's branches, did you mean red-aaa"):
        models_named(project, None, "red-aab")
