"""Which models a new branch takes, and what it leaves behind."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from mlops_cli.config.load import load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.branches import Cut, plan_cut, title_of
from mlops_cli.scaffold.init import Template, template_files
from tests.fakes.config_projects import make_project

BLUE = "team: blue\nticker: AAPL\n"


@pytest.fixture
def project(tmp_path) -> Project:
    for name, text in template_files(Template.RED_VS_BLUE).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Project.at(tmp_path)


def plan(project: Project, selection: str) -> Cut:
    return plan_cut(project, load_params(project), selection)


def all_names(project: Project) -> list[str]:
    return [spec.name for branch in load_branches(project, load_params(project)).values() for spec in branch.models]


@pytest.mark.parametrize(
    ("selection", "title"),
    [("red", "red"), ("red/", "red"), ("red/aapl", "red/AAPL"), ("red/BRK-b", "red/BRK-B"), ("Red", "Red")],
)
def test_title(selection, title):
    assert title_of(selection) == title


def test_a_team_takes_all_its_models_and_no_other(project):
    cut = plan(project, "red")
    taken = [name for names in cut.taken.values() for name in names]
    assert cut.name == "red"
    assert taken == [name for name in all_names(project) if name.startswith("red-")]
    assert taken


def test_a_ticker_takes_one_model_by_its_name(project):
    ticker = next(name for name in all_names(project) if name.startswith("red-")).removeprefix("red-").upper()
    cut = plan(project, f"red/{ticker.lower()}")
    assert cut.name == f"red-{ticker.lower()}"
    assert [name.lower() for names in cut.taken.values() for name in names] == [f"red-{ticker.lower()}"]


def test_a_branch_is_emptied_when_it_loses_its_last_model(tmp_path):
    files = {"configs/mine/red.yaml": "team: red\ntickers: [AAPL, IBM]\n", "configs/mine/blue.yaml": BLUE}
    project = make_project(tmp_path, files)
    assert plan(project, "red").emptied == frozenset()
    (tmp_path / "configs/mine/blue.yaml").unlink()
    assert plan(project, "red").emptied == {"main"}
    cut = plan(project, "red/IBM")
    assert cut.emptied == frozenset()
    assert cut.taken == {"main": ["red-ibm"]}
    assert cut.spec["collection"] == ["configs/mine/red.yaml"]


@pytest.mark.parametrize("selection", ["red", "blue"])
def test_the_patterns_match_what_is_taken_and_nothing_else(project, selection):
    cut = plan(project, selection)
    matched = {name for name in all_names(project) if any(fnmatchcase(name, glob) for glob in cut.patterns)}
    assert matched == {name for names in cut.taken.values() for name in names}
    assert cut.spec["only"] == cut.patterns


def test_planning_changes_no_file(project):
    before = project.params.read_bytes()
    plan(project, "red")
    assert project.params.read_bytes() == before


@pytest.mark.parametrize("selection", ["green", "red/NONE", "", "/AAPL"])
def test_no_such_models(project, selection):
    with pytest.raises(ConfigError, match="no model of") as caught:
        plan(project, selection)
    assert "team/TICKER" in caught.value.hint


def test_a_slip_of_the_pen_is_pointed_out(project):
    ticker = next(name for name in all_names(project) if name.startswith("red-")).removeprefix("red-").upper()
    with pytest.raises(ConfigError, match=f"red/{ticker}"):
        plan(project, f"rde/{ticker}")
