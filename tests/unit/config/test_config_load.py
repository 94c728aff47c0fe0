"""From files to branches: what is merged, what is chosen, and every mistake at once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.collection import merged
from mlops_cli.config.editing.params import set_values
from mlops_cli.config.load import check_project, load_branch, load_branches, load_params, load_scenario
from mlops_cli.config.schemas.source import Source
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import make_project

RED = "team: red\ntickers: [aapl, ON, AAPL, BRK.B]\n"


def branch_of(project, name="main"):
    return load_branch(project, load_params(project), name)


def mistakes_of(call, *arguments) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        call(*arguments)
    assert raised.value.exit_code == 3
    assert raised.value.hint
    return raised.value.message.splitlines()


def test_many_tickers_are_one_model_each(tmp_path):
    branch = branch_of(make_project(tmp_path, {"configs/mine/red.yaml": RED}))
    assert [(m.name, m.ticker, m.team) for m in branch.models] == [
        ("red-aapl", "AAPL", "red"),
        ("red-on", "ON", "red"),
        ("red-brk.b", "BRK.B", "red"),
    ]
    assert {m.file for m in branch.models} == {"configs/mine/red.yaml"}


def test_models_of_a_pool_know_its_tickers_and_others_none(tmp_path):
    files = {"configs/mine/pool.yaml": RED + "pool: true\nsuffix: pool\n", "configs/mine/red.yaml": RED}
    models = branch_of(make_project(tmp_path, files)).models
    assert {m.name: m.pool for m in models} == {
        **dict.fromkeys(("red-aapl-pool", "red-on-pool", "red-brk.b-pool"), ("AAPL", "ON", "BRK.B")),
        **dict.fromkeys(("red-aapl", "red-on", "red-brk.b"), ()),
    }


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("team: red\nticker: A\npool: true\n", "pool: true needs two tickers or more"),
        ("team: red\ntickers: [A, a]\npool: true\n", "pool: true needs two tickers or more"),
        (RED + "pool: true\ntrainer: drift\n", "pool: needs trainer: ludwig, was drift"),
    ],
)
def test_pools_that_cannot_be(tmp_path, text, mistake):
    (line,) = mistakes_of(branch_of, make_project(tmp_path, {"configs/mine/red.yaml": text}))
    assert line.startswith("configs/mine/red.yaml")
    assert mistake in line


def test_without_base_yaml_the_packaged_defaults_hold(tmp_path):
    model = branch_of(make_project(tmp_path, {"configs/mine/red.yaml": RED})).models[0]
    assert model.trainer == "ludwig"
    assert model.features.rsi == (14,)
    assert model.ludwig["combiner"] == {"type": "concat", "num_fc_layers": 2, "output_size": 64, "dropout": 0.1}
    assert model.ludwig["trainer"]["learning_rate"] == 0.001


def test_model_over_base_over_packaged(tmp_path):
    project = make_project(
        tmp_path,
        {
            "configs/base.yaml": "ludwig: {trainer: {epochs: 3}}\nexchange: XETR\nfeature_sets: {small: {rsi: [3]}}\n",
            "configs/mine/red.yaml": RED
            + "features: small\nludwig: {trainer: {batch_size: 9}, combiner: {dropout: 0}}\n",
        },
    )
    model = branch_of(project).models[0]
    assert model.exchange == "XETR"
    assert model.ludwig["trainer"]["epochs"] == 3
    assert model.ludwig["trainer"]["batch_size"] == 9
    assert model.ludwig["trainer"]["early_stop"] == 5
    assert model.ludwig["combiner"]["dropout"] == 0
    assert model.ludwig["combiner"]["output_size"] == 64
    assert model.features.rsi == (3,)
    assert model.features.returns == (), "a feature set given anew is meant whole"


def test_features_written_out_in_the_model_file(tmp_path):
    project = make_project(tmp_path, {"configs/mine/red.yaml": RED + "features: {returns: [1], macd: {}}\n"})
    features = branch_of(project).models[0].features
    assert features.returns == (1,)
    assert features.macd is not None
    assert features.macd.slow == 26
    assert features.rsi == ()


def test_another_type_replaces_a_mapping_whole(tmp_path):
    project = make_project(tmp_path, {"configs/mine/red.yaml": RED + "ludwig: {combiner: {type: tabnet, size: 8}}\n"})
    assert branch_of(project).models[0].ludwig["combiner"] == {"type": "tabnet", "size": 8}


TREES = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(TREES, TREES)
def test_merging_keeps_the_upper_and_adds_the_lower(under, over):
    both = merged(under, over)
    assert merged(both, over) == both
    assert merged(under, {}) == (under if isinstance(under, dict) else {})
    if isinstance(over, dict):
        for key, value in over.items():
            if not isinstance(value, dict):
                assert both[key] == value
    if isinstance(under, dict) and isinstance(over, dict):
        assert set(both) == set(under) | set(over)


def test_collections_are_files_folders_and_globs_each_file_once(tmp_path):
    files = {
        "configs/a/one.yaml": "team: a\nticker: ONE\n",
        "configs/a/deep/two.yml": "team: a\nticker: TWO\n",
        "configs/a/.hidden.yaml": "not: [one",
        "configs/a/README.md": "no yaml",
        "configs/b/three.yaml": "team: b\nticker: THREE\n",
        "configs/base.yaml": "trainer: naive\n",
    }
    params = "branches:\n" + "".join(
        f"  {name}: {{collection: {entries}}}\n"
        for name, entries in {
            "folder": "configs/a",
            "file": "[configs/b/three.yaml]",
            "glob": "[configs/*/t*.yaml]",
            "twice": "[configs/a, configs/a/one.yaml, './configs/a/']",
            "all": "[configs]",
        }.items()
    )
    branches = load_branches(p := make_project(tmp_path, files, params), load_params(p))
    names = {name: [m.ticker for m in branch.models] for name, branch in branches.items()}
    assert names == {
        "folder": ["TWO", "ONE"],
        "file": ["THREE"],
        "glob": ["THREE"],
        "twice": ["TWO", "ONE"],
        "all": ["TWO", "ONE", "THREE"],
    }
    assert all(m.trainer == "naive" for branch in branches.values() for m in branch.models)


def test_only_and_exclude_choose_by_name(tmp_path):
    params = (
        "branches:\n  brk: {collection: configs/mine, only: red-b*}\n"
        "  rest: {collection: configs/mine, exclude: ['red-b*', red-gone]}\n"
    )
    project = make_project(tmp_path, {"configs/mine/red.yaml": RED}, params)
    branches = load_branches(project, load_params(project))
    assert [m.name for m in branches["brk"].models] == ["red-brk.b"]
    assert [m.name for m in branches["rest"].models] == ["red-aapl", "red-on"]


def test_a_branch_overrides_what_it_says_and_no_more(tmp_path):
    params = (
        "seed: 1\nsource: {kind: csv}\nperiod: {start: '2001-01-01', end: '2010-01-01'}\n"
        "branches:\n  main:\n    collection: configs/mine\n    seed: 0\n    period: {start: null}\n"
        "    training: {shrinkage: 0.5}\n    source: {kind: yfinance}\n  plain: {collection: configs/mine}\n"
    )
    project = make_project(tmp_path, {"configs/mine/red.yaml": RED}, params)
    branches = load_branches(project, load_params(project))
    main, plain = branches["main"], branches["plain"]
    assert main.source == Source(kind="yfinance")
    assert (main.period.start, main.period.end) == (None, date(2010, 1, 1))
    assert (main.training.shrinkage, main.training.min_sessions) == (0.5, 300)
    assert (main.seed, plain.seed) == (0, 1)
    assert plain.source == Source(kind="csv")
    assert plain.training.shrinkage == "pooled"
    assert main.scenario == "demo"


def test_empty_keys_of_params_count_as_left_out(tmp_path):
    params = load_params(make_project(tmp_path, params="seed:\nbranches:\nperiod:\n"))
    assert params.seed == 7
    assert params.branches == {}
    assert load_params(make_project(tmp_path, params="")).seed == 7


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        ({}, ["params.yaml: branches.main.collection: 'configs/mine' contains no model file (*.yaml)"]),
        (
            {"configs/mine/a.yaml": "team: red\nticker: A\n", "configs/mine/b.yaml": "team: red\ntickers: [B, A]\n"},
            [
                "configs/mine/b.yaml: model red-a is in branch main already, from configs/mine/a.yaml: "
                "give one of them a suffix"
            ],
        ),
        (
            {"configs/mine/a.yaml": "team: red\nticker: A\nfeatures: standrad\n"},
            ["configs/mine/a.yaml: features: no feature set 'standrad' in configs/base.yaml, did you mean standard?"],
        ),
        (
            {"configs/mine/a.yaml": "team: red\nticker: A\n", "configs/base.yaml": "features: gone\n"},
            [
                "configs/base.yaml: features: no feature set 'gone' in configs/base.yaml "
                "(known: standard, small, sequence)"
            ],
        ),
        (
            {"configs/mine/a.yaml": f"team: {'r' * 60}\nticker: LONG\n"},
            [f"configs/mine/a.yaml: gives the model name {'r' * 60}-long, longer than 64 characters"],
        ),
        (
            {
                "configs/mine/a.yaml": "teem: red\nticker: A\n",
                "configs/mine/b.yaml": "team: [",
                "configs/mine/c.yaml": "- a\n",
                "configs/mine/d.yaml": "team: red\nticker: 7\n",
                "configs/base.yaml": "targte: close\n",
            },
            [
                "configs/base.yaml: targte: unknown key, did you mean target?",
                "configs/mine/a.yaml: team: is missing, expected a name of lower-case letters, digits and . _ -",
                "configs/mine/a.yaml: teem: unknown key, did you mean team?",
                "configs/mine/b.yaml: line 2, column 1: did not find expected node content",
                "configs/mine/c.yaml: expected a mapping (key: value), was a list",
                "configs/mine/d.yaml: ticker: expected a ticker such as AAPL or BRK-B or nothing, "
                "was the number 7: write it in quotes",
            ],
        ),
    ],
)
def test_all_mistakes_of_all_files_at_once(tmp_path, files, lines):
    project = make_project(tmp_path, files)
    assert mistakes_of(load_branches, project, load_params(project)) == lines
    assert mistakes_of(branch_of, project) == lines


@pytest.mark.parametrize("entry", ["data/x", "../configs", "/etc", "configs/../data", "''", "'.'"])
def test_a_collection_lies_under_configs(tmp_path, entry):
    project = make_project(tmp_path, {}, f"branches: {{main: {{collection: [{entry}]}}}}\n")
    (line,) = mistakes_of(branch_of, project)
    assert line.startswith("params.yaml: branches.main.collection: ")
    assert line.endswith("is not under configs/, the only folder of configs that DVC watches")


def test_a_choice_that_leaves_nothing_is_a_mistake(tmp_path):
    params = (
        "branches:\n  a: {collection: configs/mine, only: red-appl}\n"
        "  b: {collection: configs/mine, exclude: '*'}\n  c: {collection: 'configs/*/none*.yaml'}\n"
    )
    project = make_project(tmp_path, {"configs/mine/red.yaml": RED}, params)
    assert mistakes_of(load_branches, project, load_params(project)) == [
        "params.yaml: branches.a.only: no model is called 'red-appl', did you mean red-aapl?",
        "params.yaml: branches.b.exclude: leaves no model, all are excluded",
        "params.yaml: branches.c.collection: 'configs/*/none*.yaml' contains no model file (*.yaml)",
    ]


def test_mistakes_of_params_with_those_of_the_overrides(tmp_path):
    params = (
        "period: {end: '2000-01-01'}\nbranches:\n  a: {collection: x, source: {knid: csv}}\n"
        "  b: {collection: x, period: {start: '2001-01-01'}}\n  c: {collection: x, source: {folder: y}}\n"
    )
    assert mistakes_of(load_params, make_project(tmp_path, {}, params)) == [
        "params.yaml: branches.a.source.knid: unknown key, did you mean kind?",
        "params.yaml: branches.b.period: start 2001-01-01 is after end 2000-01-01",
        "params.yaml: branches.c.source.folder: cannot differ by branch: "
        "dvc.yaml watches the folder of source.folder alone",
    ]
    assert mistakes_of(load_params, make_project(tmp_path, {}, "a: [")) == [
        "params.yaml: line 2, column 1: did not find expected node content"
    ]


def test_an_unknown_branch_is_told_with_the_likely_one(tmp_path):
    project = make_project(tmp_path, {"configs/mine/red.yaml": RED})
    assert mistakes_of(branch_of, project, "mian") == [
        "params.yaml: branches: there is no branch 'mian', did you mean main?"
    ]


def test_scenarios(tmp_path):
    project = make_project(
        tmp_path, {"simulation/bad.yaml": "strat: 2020-01-01\ndays: 0\n", "simulation/no.yaml": "a: ["}
    )
    scenario = load_scenario(project, "mine")
    assert (scenario.start, scenario.end, scenario.models) == (date(2020, 1, 2), date(2020, 6, 30), ("*",))
    assert mistakes_of(load_scenario, project, "mien") == ["simulation/mien.yaml: no such scenario, did you mean mine?"]
    assert mistakes_of(load_scenario, project, "bad") == [
        'simulation/bad.yaml: start: is missing, expected a date such as "2024-01-31"',
        "simulation/bad.yaml: days: expected a whole number of at least 1, was the number 0",
        "simulation/bad.yaml: strat: unknown key, did you mean start?",
    ]
    assert mistakes_of(load_scenario, project, "no")[0].startswith("simulation/no.yaml: line 2")


def test_check_looks_at_files_that_no_branch_holds(tmp_path):
    project = make_project(
        tmp_path,
        {
            "configs/mine/red.yaml": RED,
            "configs/unused/x.yaml": "team: red\n",
            "simulation/other.yaml": "days: 3\n",
        },
    )
    assert len(load_branches(project, load_params(project))) == 1
    assert mistakes_of(check_project, project) == [
        "configs/unused/x.yaml: give either ticker: AAPL or tickers: [AAPL, MSFT]",
        'simulation/other.yaml: start: is missing, expected a date such as "2024-01-31"',
    ]


def test_check_tells_mistakes_of_params_and_of_configs_together(tmp_path):
    project = make_project(tmp_path, {"configs/mine/red.yaml": "team: red\n"}, "sede: 1\n")
    assert mistakes_of(check_project, project) == [
        "params.yaml: sede: unknown key, did you mean seed?",
        "configs/mine/red.yaml: give either ticker: AAPL or tickers: [AAPL, MSFT]",
    ]
    project = make_project(
        tmp_path / "b", {}, "branches: {}\nsource: {folder: nowhere}\nsimulation: {scenario: none}\n"
    )
    assert mistakes_of(check_project, project) == [
        "simulation/none.yaml: no such scenario (known: mine)",
        "params.yaml: source.folder: there is no folder nowhere",
    ]


@pytest.mark.parametrize("where", ["source", "branches.main.source"])
def test_check_misses_the_folder_of_dividends_that_a_branch_reads(tmp_path, where):
    project = make_project(tmp_path, {"configs/mine/red.yaml": "team: red\nticker: A\n"})
    set_values(project, [f"{where}.actions.kind=csv"])
    folder = project.root / "data" / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    mistake = "params.yaml: source.actions.folder: there is no folder data/incoming/actions"
    assert mistakes_of(check_project, project) == [mistake]
    (folder / "actions").mkdir()
    assert list(check_project(project)) == ["main"]


def test_check_of_a_project_in_order(tmp_path):
    project = make_project(tmp_path, {"configs/mine/red.yaml": RED})
    assert [m.name for m in check_project(project)["main"].models] == ["red-aapl", "red-on", "red-brk.b"]


def test_five_hundred_stocks_are_loaded_once_for_many_branches(tmp_path, monkeypatch):
    tickers = [f"T{i}" for i in range(500)]
    params = "branches:\n" + "".join(f"  b{i}: {{collection: configs/mine, only: red-t{i}}}\n" for i in range(100))
    project = make_project(tmp_path, {"configs/mine/red.yaml": f"team: red\ntickers: [{', '.join(tickers)}]\n"}, params)
    reads: list[Path] = []
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: reads.append(self) or read(self, *a, **k))
    branches = load_branches(project, load_params(project))
    assert len(branches) == 100
    assert [m.name for m in branches["b42"].models] == ["red-t42"]
    assert sum(path.name == "red.yaml" for path in reads) == 1


@pytest.mark.parametrize(
    "name", ["../mine", "../../etc/passwd", "/etc/passwd", "", "a/b", "mine\n", "-mine", ".hidden"]
)
def test_a_scenario_s_name_never_leaves_its_folder(tmp_path, name):
    project = make_project(tmp_path)
    (tmp_path / "mine.yaml").write_text("start: 2012-09-04\n")
    with pytest.raises(ConfigError, match="expected the name of a file in simulation/"):
        load_scenario(project, name)


def test_a_scenario_that_reaches_beyond_all_years(tmp_path):
    project = make_project(tmp_path, {"simulation/far.yaml": 'start: "9990-01-01"\ndays: 99999999999\n'})
    with pytest.raises(ConfigError, match="reach beyond the year 9999"):
        load_scenario(project, "far")
