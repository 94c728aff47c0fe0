"""`--retrain`, the teams of params.yaml, and what `mlops config check` says once for each kind of mistake."""

from __future__ import annotations

import pytest

from mlops_cli.config.load import check_params, check_project, check_retrain, load_branch, load_params
from mlops_cli.config.mistakes import Mistakes
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import make_project

RED = "team: red\ntickers: [AAPL, IBM]\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("never", "never"),
        ("monthly", "monthly"),
        ("quarterly", "quarterly"),
        ("yearly", "yearly"),
        ("21", 21),
        ("1", 1),
    ],
)
def test_retrain_takes_words_and_numbers_of_sessions(text, value):
    assert check_retrain(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "weekly", "", "true", "٣x"])
def test_other_values_of_retrain_are_refused(text):
    with pytest.raises(ConfigError) as raised:
        check_retrain(text)
    assert raised.value.message.startswith("--retrain: expected never, monthly, quarterly, yearly or a whole number")
    assert raised.value.hint == "without the option, simulation.retrain in params.yaml applies"


def params_lines(data) -> list[str]:
    mistakes = Mistakes()
    params = check_params(data, mistakes)
    assert (params is None) <= bool(mistakes.lines)
    return mistakes.lines


@pytest.mark.parametrize("data", [None, {}, {"seed": None, "trading": None}])
def test_empty_params_are_the_defaults(data):
    mistakes = Mistakes()
    params = check_params(data, mistakes)
    assert mistakes.lines == []
    assert params is not None
    assert params.seed == 7


@pytest.mark.parametrize("data", ["text", 3, ["a"], True])
def test_params_that_are_no_mapping(data):
    (line,) = params_lines(data)
    assert line.startswith("params.yaml: expected a mapping (key: value), was ")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            {"branches": {"a": {"collection": ["configs"], "training": {"workers": 0}}}},
            "params.yaml: branches.a.training.workers: expected a whole number from 1 to 1024 or nothing, "
            "was the number 0",
        ),
        (
            {"branches": {"a": {"collection": ["configs"], "source": {"folder": "x"}}}},
            "params.yaml: branches.a.source.folder: cannot differ by branch: "
            "dvc.yaml watches the folder of source.folder alone",
        ),
        (
            {"trading": {"teams": {"red": {"lot_fraction": 0.5}}}},
            "params.yaml: trading.teams.red: max_weight (0.35) is below one lot, lot_fraction (0.5)",
        ),
        (
            {"trading": {"teams": {"red": {"costs": {"slipage_bps": 1}}}}},
            "params.yaml: trading.teams.red.costs.slipage_bps: unknown key, did you mean slippage_bps?",
        ),
        (
            {"trading": {"teams": {"red": {"live": True}}}},
            "params.yaml: trading.teams.red.live: unknown key",
        ),
        (
            {"serving": {"smaller_model": {"enter_ms": 5, "leave_ms": 5}}},
            "params.yaml: serving.smaller_model: leave_ms (5.0) must be below enter_ms (5.0)",
        ),
    ],
)
def test_mistakes_in_overrides_have_the_full_key(data, line):
    (only,) = params_lines(data)
    assert only.startswith(line)


def lines_of_check(tmp_path, files: dict[str, str], params: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        check_project(make_project(tmp_path, files, params))
    assert raised.value.hint == "Fix the lines above, then run: mlops config check"
    return raised.value.message.splitlines()


MAIN = "branches: {main: {collection: configs/mine}}\nsimulation: {scenario: mine}\n"


def test_a_team_without_models_is_told_with_the_likely_one(tmp_path):
    params = MAIN + "trading: {teams: {rde: {lot_fraction: 0.1}}}\n"
    assert lines_of_check(tmp_path, {"configs/mine/red.yaml": RED}, params) == [
        "params.yaml: trading.teams.rde: no model belongs to this team, did you mean red?"
    ]


def test_teams_are_not_checked_while_a_branch_is_broken(tmp_path):
    params = MAIN + "trading: {teams: {rde: {lot_fraction: 0.1}}}\n"
    (line,) = lines_of_check(tmp_path, {"configs/mine/red.yaml": "team: red\n"}, params)
    assert line.startswith("configs/mine/red.yaml: ")


def test_a_scenario_that_params_name_is_checked_though_it_has_no_file(tmp_path):
    params = MAIN.replace("scenario: mine", "scenario: mien")
    assert lines_of_check(tmp_path, {"configs/mine/red.yaml": RED}, params) == [
        "simulation/mien.yaml: no such scenario, did you mean mine?"
    ]


def test_without_params_the_other_files_are_checked_all_the_same(tmp_path):
    files = {"configs/mine/red.yaml": "team: red\n", "simulation/bad.yaml": "days: 1\n"}
    lines = lines_of_check(tmp_path, files, "branches: [\n")
    assert [line.split(":")[0] for line in lines] == ["params.yaml", "configs/mine/red.yaml", "simulation/bad.yaml"]


def test_check_gives_the_branches_in_the_order_of_params(tmp_path):
    params = (
        "branches:\n  z: {collection: configs/mine}\n  a: {collection: configs/mine, exclude: '*ibm'}\n"
        "simulation: {scenario: mine}\n"
    )
    branches = check_project(make_project(tmp_path, {"configs/mine/red.yaml": RED}, params))
    assert {name: len(branch.models) for name, branch in branches.items()} == {"z": 2, "a": 1}
    assert list(branches) == ["z", "a"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("only: red-*", ["red-aapl", "red-ibm"]),
        ("only: [red-ibm, red-aapl]", ["red-aapl", "red-ibm"]),
        ("only: 'red-[a]*'", ["red-aapl"]),
        ("exclude: red-aapl", ["red-ibm"]),
        ("only: red-*, exclude: '*-ibm'", ["red-aapl"]),
        ("exclude: nothing-like-this", ["red-aapl", "red-ibm"]),
    ],
)
def test_only_and_exclude_keep_the_order_of_the_files(tmp_path, choice, names):
    params = f"branches: {{main: {{collection: configs/mine, {choice}}}}}\n"
    project = make_project(tmp_path, {"configs/mine/red.yaml": RED}, params)
    assert [model.name for model in load_branch(project, load_params(project), "main").models] == names


def test_only_is_case_sensitive(tmp_path):
    params = "branches: {main: {collection: configs/mine, only: RED-*}}\n"
    project = make_project(tmp_path, {"configs/mine/red.yaml": RED}, params)
    with pytest.raises(ConfigError, match=r"branches\.main\.only: no model is called 'RED-\*'"):
        load_branch(project, load_params(project), "main")


def test_every_repeated_name_is_told_with_the_file_that_has_it_first(tmp_path):
    files = {f"configs/mine/{name}.yaml": RED for name in "abc"}
    with pytest.raises(ConfigError) as raised:
        check_project(make_project(tmp_path, files, MAIN))
    lines = raised.value.message.splitlines()
    assert len(lines) == 4
    assert all("from configs/mine/a.yaml: give one of them a suffix" in line for line in lines)
