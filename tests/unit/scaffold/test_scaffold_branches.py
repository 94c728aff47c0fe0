"""Planning a cut: which models, how they are named in params.yaml, and what their branch inherits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.load import load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.branches import Cut, create_branch, plan_cut, title_of
from tests.fakes.team_project import PARAMS, team_project


def cut(project: Project, selection: str) -> Cut:
    return plan_cut(project, load_params(project), selection)


def names(project: Project) -> dict[str, list[str]]:
    branches = load_branches(project, load_params(project))
    return {name: [model.name for model in branch.models] for name, branch in branches.items()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return team_project(tmp_path)


def test_one_ticker_is_cut_by_name(project: Project) -> None:
    assert cut(project, "red/aaa") == Cut(
        name="red-aaa",
        spec={"collection": ["configs/red/models.yaml"], "only": ["red-aaa"]},
        taken={"main": ["red-aaa"]},
        patterns=["red-aaa"],
        emptied=frozenset(),
    )


def test_a_team_is_cut_by_glob(project: Project) -> None:
    planned = cut(project, "red")
    assert (planned.name, planned.patterns) == ("red", ["red-*"])
    assert planned.taken == {"main": ["red-aaa", "red-bbb"]}


def test_planning_changes_nothing(project: Project) -> None:
    before = project.params.read_text()
    cut(project, "red")
    assert project.params.read_text() == before


@pytest.mark.parametrize("other", ["red-hot", "red-"])
def test_a_glob_that_would_take_another_teams_models_is_not_used(tmp_path: Path, other: str) -> None:
    files = {"configs/red/other.yaml": f"team: {other}\nticker: AAA\n"}
    assert cut(team_project(tmp_path, files), "red").patterns == ["red-aaa", "red-bbb"]


def test_a_branch_that_has_no_other_models_is_emptied(project: Project) -> None:
    create_branch(project, "red")
    assert cut(project, "blue").emptied == frozenset({"main"})
    assert cut(project, "blue/AAA").emptied == frozenset()


def test_models_come_from_every_branch_that_has_them(tmp_path: Path) -> None:
    params = (
        "branches: {a: {collection: [configs/red]}, b: {collection: [configs/blue, configs/red], only: ['*-aaa']}}\n"
        "simulation: {scenario: mine}\n"
    )
    planned = cut(team_project(tmp_path, params=params), "red")
    assert planned.taken == {"a": ["red-aaa", "red-bbb"], "b": ["red-aaa"]}
    assert planned.emptied == frozenset({"a"})


OVERRIDES = "{collection: [configs/red, configs/blue], seed: 3, source: {kind: yfinance}}"


def test_the_new_branch_keeps_what_the_old_one_overrides(tmp_path: Path) -> None:
    params = f"branches: {{main: {OVERRIDES}}}\nsimulation: {{scenario: mine}}\n"
    spec = cut(team_project(tmp_path, params=params), "red").spec
    assert (spec["seed"], spec["source"]) == (3, {"kind": "yfinance"})
    assert set(spec) == {"collection", "only", "seed", "source"}


@pytest.mark.parametrize("override", ["seed: 4", "source: {kind: sample}", "period: {start: '2001-01-01'}"])
def test_branches_that_differ_are_not_cut_together(tmp_path: Path, override: str) -> None:
    params = (
        f"branches: {{a: {{collection: [configs/red]}}, b: {{collection: [configs/red], {override}}}}}\n"
        "source: {kind: csv}\nsimulation: {scenario: mine}\n"
    )
    with pytest.raises(ConfigError) as raised:
        cut(team_project(tmp_path, params=params), "red")
    assert raised.value.message.startswith("the branches a, b hold these models and differ in")
    assert "one ticker at a time" in raised.value.hint


@pytest.mark.parametrize(
    ("selection", "similar"),
    [("redd", ""), ("red/AAB", "did you mean red/AAA?"), ("red/", None), ("/AAA", ""), ("red/AAA/x", "")],
)
def test_a_selection_of_nothing(project: Project, selection: str, similar: str | None) -> None:
    if similar is None:  # `red/` is the whole team
        assert cut(project, selection).name == "red"
        return
    with pytest.raises(ConfigError) as raised:
        cut(project, selection)
    assert raised.value.message.startswith(f"no model of {selection!r} in any branch of params.yaml")
    assert similar in raised.value.message
    assert "mlops models list" in raised.value.hint


@pytest.mark.parametrize("order", [("red", "blue/AAA"), ("blue/AAA", "red"), ("red/AAA", "blue", "red")])
def test_cuts_in_any_order_leave_every_model_in_exactly_one_branch(project: Project, order: tuple[str, ...]) -> None:
    before = sorted(names(project)["main"])
    for selection in order:
        create_branch(project, selection)
        assert sorted(name for models in names(project).values() for name in models) == before


def test_what_is_said_of_a_cut(project: Project) -> None:
    assert create_branch(project, "red") == [
        "params.yaml: branches.red: added, 2 models",
        "params.yaml: branches.main: 2 models taken out",
    ]
    assert create_branch(project, "blue/AAA") == [
        "params.yaml: branches.blue-aaa: added, 1 model",
        "params.yaml: branches.main: 1 model taken out",
    ]
    assert create_branch(project, "blue/BBB")[1] == "params.yaml: branches.main: removed, it is empty now"


def test_an_exclude_that_is_there_already_stays(tmp_path: Path) -> None:
    params = PARAMS.replace("configs/blue]\n", "configs/blue]\n    exclude: [blue-bbb]\n")
    project = team_project(tmp_path, params=params)
    create_branch(project, "red/AAA")
    assert load_params(project).branches["main"].exclude == ("blue-bbb", "red-aaa")


def test_comments_survive_a_cut(project: Project) -> None:
    create_branch(project, "red")
    assert project.params.read_text().startswith("# two teams\n")


@given(st.from_regex(r"[a-z]{1,6}(/[A-Za-z.^-]{0,6})?", fullmatch=True))
def test_a_title_is_its_own_title(selection: str) -> None:
    title = title_of(selection)
    assert title_of(title) == title
    assert not title.endswith("/")
    assert title.partition("/")[0] == selection.partition("/")[0]
