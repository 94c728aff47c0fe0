"""`mlops models add`: one word in a file, and a branch that holds it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_cli.config.editing.add_model import add_model
from mlops_cli.config.load import load_branches, load_params
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.init import Template, template_files
from tests.fakes.config_projects import make_project


def names(project) -> dict[str, list[str]]:
    branches = load_branches(project, load_params(project))
    return {name: [m.name for m in branch.models] for name, branch in branches.items()}


def from_template(tmp_path, template):
    files = template_files(template)
    return make_project(tmp_path, {k: v for k, v in files.items() if k != "params.yaml"}, files["params.yaml"])


def test_the_first_model_of_a_blank_project(tmp_path):
    project = from_template(tmp_path, Template.BLANK)
    assert add_model(project, "red", ["aapl", "BRK.B", "AAPL"]) == [
        "configs/red/red.yaml: AAPL, BRK.B added",
        "params.yaml: branches.main.collection: configs/red/red.yaml added",
    ]
    assert (project.configs / "red" / "red.yaml").read_text() == "team: red\ntickers: [AAPL, BRK.B]\n"
    assert names(project) == {"main": ["red-aapl", "red-brk.b"]}


def test_a_team_of_one_file_gets_it_there(tmp_path):
    project = from_template(tmp_path, Template.DEMO)
    before = project.params.read_text()
    assert add_model(project, "red", ["FB"]) == ["configs/demo/red.yaml: FB added"]
    text = (project.configs / "demo" / "red.yaml").read_text()
    assert text.endswith("team: red\ntickers: [AAPL, GOOG, IBM, MSFT, FB]\n")
    assert text.startswith("# Team red")
    assert project.params.read_text() == before
    assert "red-fb" in names(project)["main"]


def test_a_single_ticker_becomes_a_list(tmp_path):
    project = make_project(tmp_path, {"configs/mine/red.yaml": "# hi\nteam: red\nticker: ON  # semis\nsuffix: x\n"})
    assert add_model(project, "red", ["NO", "1398"]) == ["configs/mine/red.yaml: NO, 1398 added"]
    assert names(project) == {"main": ["red-on-x", "red-no-x", "red-1398-x"]}
    assert (project.configs / "mine" / "red.yaml").read_text() == (
        "# hi\nteam: red\ntickers: [ON, NO, '1398']\nsuffix: x\n"
    )


def test_where_branches_are_cut_by_stock_the_new_one_goes_to_main(tmp_path):
    project = from_template(tmp_path, Template.RED_VS_BLUE)
    add_model(project, "red", ["TSLA"])
    found = names(project)
    assert found["main"] == ["red-tsla"]
    assert found["red-aapl"] == ["red-aapl"]
    add_model(project, "blue", ["TSLA"])
    assert names(project)["main"] == ["red-tsla", "blue-tsla"]


def test_a_branch_main_that_chooses_gets_the_name(tmp_path):
    params = "branches: {main: {collection: configs/mine, only: red-a}}\nsimulation: {scenario: mine}\n"
    project = make_project(tmp_path, {"configs/mine/red.yaml": "team: red\nticker: A\n"}, params)
    add_model(project, "red", ["B"])
    assert names(project) == {"main": ["red-a", "red-b"]}


def test_another_folder(tmp_path):
    project = from_template(tmp_path, Template.DEMO)
    assert add_model(project, "green", ["IBM"], "configs/mine/deep")[0] == "configs/mine/deep/green.yaml: IBM added"
    assert "green-ibm" in names(project)["main"]


def test_what_is_there_already_changes_nothing(tmp_path):
    project = from_template(tmp_path, Template.DEMO)
    before = (project.configs / "demo" / "red.yaml").read_text()
    assert add_model(project, "red", ["ibm"]) == ["configs/demo/red.yaml: IBM: there already"]
    assert (project.configs / "demo" / "red.yaml").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Red", ["A"], ""), "team 'Red': expected a name of lower-case letters"),
        (("red", ["A B"], ""), "ticker 'A B': expected a ticker such as AAPL or BRK-B"),
        (("red", ["A"], "elsewhere"), "is not under configs/"),
        (("red", ["A"], "configs/../x"), "is not under configs/"),
        (("green", ["A"], "configs/other"), "configs/other/green.yaml: team: expected green, was red"),
        (("red", ["IBM"], "configs/clash"), "configs/clash/red.yaml: model red-ibm is in branch main already"),
        (("held", ["NEW"], ""), "branches.main.exclude: excludes held-new"),
    ],
)
def test_a_refusal_leaves_everything_as_it_was(tmp_path, arguments, said):
    project = make_project(
        tmp_path,
        {
            "configs/mine/red.yaml": "team: red\ntickers: [IBM]\n",
            "configs/mine/more.yaml": "team: red\ntickers: [MSFT]\n",
            "configs/other/green.yaml": "team: red\nticker: GOOG\n",
        },
        "branches:\n  main: {collection: [configs/mine, 'configs/clash*'], exclude: ['held-*']}\n"
        "  x: {collection: configs/mine}\nsimulation: {scenario: mine}\n",
    )
    (project.configs / "clash-not").mkdir()
    (project.configs / "clash-not" / "a.yaml").write_text("team: a\nticker: A\n")
    before = {path: path.read_text() for path in project.root.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r".") as raised:
        add_model(project, *arguments)
    assert said in raised.value.message
    assert {path: path.read_text() for path in project.root.rglob("*") if path.is_file()} == before


def test_mistakes_that_stand_there_already_are_told_first(tmp_path):
    project = make_project(tmp_path, {"configs/mine/red.yaml": "teem: red\n"})
    with pytest.raises(ConfigError, match="teem: unknown key"):
        add_model(project, "blue", ["A"])
    assert not (project.configs / "blue").exists()


PLAIN = "branches:\n  main: {collection: configs/mine}\nsimulation: {scenario: mine}\n"


def test_of_two_files_of_a_team_neither_is_chosen(tmp_path):
    files = {"configs/mine/a.yaml": "team: red\nticker: A\n", "configs/mine/b.yaml": "team: red\nticker: B\n"}
    project = make_project(tmp_path, files, PLAIN)
    assert add_model(project, "red", ["C"])[0] == "configs/red/red.yaml: C added"
    assert names(project) == {"main": ["red-a", "red-b", "red-c"]}


def test_a_file_in_no_branch_is_extended_and_put_into_main_without_its_other_models_elsewhere(tmp_path):
    params = "branches:\n  old: {collection: configs/red, only: red-a}\nsimulation: {scenario: mine}\n"
    project = make_project(tmp_path, {"configs/red/red.yaml": "team: red\nticker: A\n"}, params)
    assert add_model(project, "red", ["B"]) == [
        "configs/red/red.yaml: B added",
        "params.yaml: branches.main.collection: configs/red/red.yaml added",
    ]
    assert names(project) == {"old": ["red-a"], "main": ["red-b"]}


def test_a_pool_grows(tmp_path):
    text = "team: red\ntickers: [A, B]\npool: true\n"
    project = make_project(tmp_path, {"configs/mine/red.yaml": text}, PLAIN)
    add_model(project, "red", ["C"])
    models = load_branches(project, load_params(project))["main"].models
    assert {model.pool for model in models} == {("A", "B", "C")}


def test_small_variants_come_with_new_tickers(tmp_path):
    text = "team: red\ntickers: [A]\nsmall: {trainer: naive}\n"
    project = make_project(tmp_path, {"configs/mine/red.yaml": text}, PLAIN)
    add_model(project, "red", ["B"])
    assert names(project)["main"] == ["red-a", "red-a-small", "red-b", "red-b-small"]


def test_a_new_file_of_a_folder_that_a_branch_contains_needs_no_change_of_params(tmp_path):
    project = make_project(tmp_path, {"configs/mine/red.yaml": "team: red\nticker: A\n"}, PLAIN)
    before = project.params.read_bytes()
    assert add_model(project, "blue", ["A"], "configs/mine/deep") == ["configs/mine/deep/blue.yaml: A added"]
    assert project.params.read_bytes() == before


def test_a_refused_new_file_is_removed_again(tmp_path):
    params = "branches:\n  main: {collection: configs/mine, exclude: '*'}\n  b: {collection: configs/b}\n"
    files = {"configs/mine/red.yaml": "team: red\nticker: A\n", "configs/b/b.yaml": "team: b\nticker: A\n"}
    project = make_project(tmp_path, files, params)
    with pytest.raises(ConfigError):
        add_model(project, "green", ["A"])
    assert not (project.configs / "green" / "green.yaml").exists()


@pytest.mark.parametrize("text", ["team: [", "- red\n", "{team: red, ticker: A}\n"])
def test_a_file_that_cannot_be_edited_is_left_alone(tmp_path, text):
    project = make_project(tmp_path, {"configs/other/red.yaml": text}, "branches: {}\n")
    with pytest.raises(ConfigError, match=r"configs/other/red\.yaml"):
        add_model(project, "red", ["B"], "configs/other")
    assert (project.configs / "other" / "red.yaml").read_text() == text


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "A", "brk.b", "NO", "1398"]), min_size=1, max_size=3), min_size=1, max_size=3
    )
)
def test_any_additions_in_any_order_give_each_ticker_one_model(tmp_path_factory, additions):
    project = make_project(tmp_path_factory.mktemp("any"), {}, "# mine\nbranches: {}\n")
    for tickers in additions:
        add_model(project, "red", tickers)
        assert add_model(project, "red", tickers)[0].endswith("there already")
    expected = dict.fromkeys(f"red-{ticker.lower()}" for tickers in additions for ticker in tickers)
    assert names(project) == {"main": list(expected)}
    assert project.params.read_text().startswith("# mine\n")
