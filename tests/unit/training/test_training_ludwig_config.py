"""Completing a Ludwig config: defaults, what the user gives, and every refusal with its file and key."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import FeatureSpec
from mlops_cli.errors import ConfigError
from mlops_cli.features.build import input_columns
from mlops_cli.training.ludwig_config import NOT_OURS, InputSlice, build_config, history_inputs, layout
from tests.fakes.train_jobs import HISTORY, NUMBERS, model_spec

NUMBER_INPUTS = input_columns(NUMBERS, "log_return")
HISTORY_INPUTS = input_columns(HISTORY, "log_return")
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "ludwig-configs.md"
FILE = "configs/red-acme.yaml: ludwig"


def complete(inputs: tuple[str, ...] = NUMBER_INPUTS, **ludwig: Any) -> dict[str, Any]:
    return build_config(model_spec(ludwig=ludwig), inputs)


def test_an_empty_config_is_completed():
    assert complete() == {
        "input_features": [
            {"name": name, "column": name, "type": "number", "preprocessing": {}}
            for name in ("return_1", "return_5", "volatility_5")
        ],
        "output_features": [
            {
                "name": "target",
                "column": "target",
                "type": "number",
                "loss": {"type": "huber"},
                "preprocessing": {"normalization": "zscore"},
            }
        ],
        "preprocessing": {"split": {"type": "fixed", "column": "split"}},
        "defaults": {
            "number": {"preprocessing": {"normalization": "zscore"}},
            "timeseries": {"encoder": {"type": "rnn", "cell_type": "gru", "state_size": 32}},
        },
        "trainer": {"evaluate_training_set": True, "eval_batch_size": 8192},
    }


def test_history_becomes_one_time_series_of_its_whole_length():
    config = complete(HISTORY_INPUTS)
    assert [(feature["name"], feature["type"]) for feature in config["input_features"]] == [
        ("return_1", "number"),
        ("return_5", "number"),
        ("history", "timeseries"),
    ]
    assert config["input_features"][-1]["preprocessing"] == {"timeseries_length_limit": 8, "window_size": 0}


def test_target_close_has_the_close_among_its_inputs():
    names = [feature["name"] for feature in complete(input_columns(NUMBERS, "close"))["input_features"]]
    assert names == ["return_1", "return_5", "volatility_5", "close"]


def test_what_the_user_gives_stays():
    given = {
        "combiner": {"type": "concat", "output_size": 7},
        "trainer": {"epochs": 3, "evaluate_training_set": False, "eval_batch_size": 8192},
        "preprocessing": {"sample_ratio": 0.5},
        "defaults": {
            "number": {"preprocessing": {"normalization": "minmax"}},
            "timeseries": {"encoder": {"type": "x"}},
        },
        "output_features": [{"loss": {"type": "mean_absolute_error"}, "preprocessing": {"normalization": None}}],
        "input_features": [{"name": "volatility_5", "encoder": {"type": "dense"}}, {"name": "return_1"}],
    }
    config = complete(**given)
    assert config["combiner"] == given["combiner"]
    assert config["trainer"] == given["trainer"]
    assert config["preprocessing"]["sample_ratio"] == 0.5
    assert config["defaults"] == given["defaults"]
    assert config["output_features"][0]["loss"] == {"type": "mean_absolute_error"}
    assert config["output_features"][0]["preprocessing"] == {"normalization": None}
    assert config["input_features"] == [
        {
            "name": "volatility_5",
            "column": "volatility_5",
            "type": "number",
            "encoder": {"type": "dense"},
            "preprocessing": {},
        },
        {"name": "return_1", "column": "return_1", "type": "number", "preprocessing": {}},
    ]


@pytest.mark.parametrize(
    "key", ["preprocessing", "trainer", "defaults", "input_features", "output_features", "defaults.number"]
)
def test_a_key_with_nothing_behind_it_is_as_good_as_none(key: str):
    above, _, below = key.partition(".")
    assert complete(**{above: {below: None} if below else None}) == complete()


def test_a_feature_key_with_nothing_behind_it_is_as_good_as_none():
    one = complete(input_features=[{"name": "return_1"}], output_features=[{}])
    two = complete(
        input_features=[{"name": "return_1", "preprocessing": None}], output_features=[{"preprocessing": None}]
    )
    assert one == two


def test_the_spec_is_not_changed_and_the_config_shares_nothing_with_it():
    ludwig = {
        "trainer": {"epochs": 3},
        "input_features": [{"name": "return_1"}],
        "output_features": [{"name": "target"}],
    }
    spec = model_spec(ludwig=ludwig)
    before = copy.deepcopy(spec.ludwig)
    config = build_config(spec, NUMBER_INPUTS)
    config["trainer"]["epochs"] = 99
    config["input_features"][0]["name"] = "changed"
    assert spec.ludwig == before
    assert build_config(spec, NUMBER_INPUTS)["trainer"]["epochs"] == 3


@pytest.mark.parametrize(
    ("ludwig", "message"),
    [
        ({"backend": "local"}, ".backend: has no effect here"),
        ({"hyperopt": {}}, ".hyperopt: has no effect here"),
        (
            {"preprocessing": {"split": {"type": "random"}}},
            ".preprocessing.split: cannot be set, rows are split by date",
        ),
        ({"preprocessing": 5}, ".preprocessing: expected a mapping (key: value), was 5"),
        ({"trainer": [1]}, ".trainer: expected a mapping (key: value), was [1]"),
        ({"defaults": "x"}, ".defaults: expected a mapping (key: value), was 'x'"),
        ({"defaults": {"number": 1}}, ".defaults.number: expected a mapping (key: value), was 1"),
        ({"input_features": []}, ".input_features: expected a list of features, was []"),
        ({"input_features": {"name": "return_1"}}, ".input_features: expected a list of features, was {'name'"),
        ({"input_features": ["return_1"]}, ".input_features[0]: expected a mapping with a name, was 'return_1'"),
        ({"input_features": [{"type": "number"}]}, ".input_features[0]: expected a mapping with a name, was {'type'"),
        (
            {"input_features": [{"name": "return_1"}, {"name": "rsi_14"}]},
            ".input_features[1].name: no column 'rsi_14' in the feature set",
        ),
        ({"input_features": [{"name": "history"}]}, ".input_features[0].name: no column 'history' in the feature set"),
        (
            {"input_features": [{"name": "return_1", "type": "category"}]},
            ".input_features[0].type: expected number, was 'category'",
        ),
        (
            {"input_features": [{"name": "return_1", "column": "return_5"}]},
            ".input_features[0].column: expected return_1, was 'return_5'",
        ),
        (
            {"input_features": [{"name": "return_1", "preprocessing": "zscore"}]},
            ".input_features[0].preprocessing: expected a mapping (key: value), was 'zscore'",
        ),
        ({"output_features": []}, ".output_features: expected one feature (the target), was []"),
        ({"output_features": [{}, {}]}, ".output_features: expected one feature (the target), was [{}, {}]"),
        ({"output_features": ["target"]}, ".output_features: expected one feature (the target), was ['target']"),
        ({"output_features": [{"name": "close"}]}, ".output_features[0].name: expected target, was 'close'"),
        ({"output_features": [{"type": "binary"}]}, ".output_features[0].type: expected number, was 'binary'"),
    ],
)
def test_refusals_name_file_and_key(ludwig: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as refusal:
        complete(**ludwig)
    assert refusal.value.message.startswith(f"{FILE}{message}")


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"type": "number"}, ".type: expected timeseries, was 'number'"),
        (
            {"preprocessing": {"timeseries_length_limit": 4}},
            ".preprocessing.timeseries_length_limit: expected 8, was 4",
        ),
        ({"preprocessing": {"window_size": 4}}, ".preprocessing.window_size: expected 0, was 4"),
    ],
)
def test_the_history_is_taken_whole(feature: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as refusal:
        complete(HISTORY_INPUTS, input_features=[{"name": "return_1"}, {"name": "history", **feature}])
    assert refusal.value.message == f"{FILE}.input_features[1]{message}"


def test_one_step_of_the_history_is_no_input_of_its_own():
    with pytest.raises(ConfigError, match="no column 'history_00'") as refusal:
        complete(HISTORY_INPUTS, input_features=[{"name": "history_00"}])
    assert refusal.value.hint == "columns: return_1, return_5, history"


def test_a_model_without_a_file_is_named_itself():
    with pytest.raises(ConfigError, match=r"^red-acme: ludwig\.backend: "):
        build_config(model_spec(file="", ludwig={"backend": "ray"}), NUMBER_INPUTS)


def test_the_layout_finds_each_feature_among_the_columns():
    assert layout(complete(HISTORY_INPUTS), HISTORY_INPUTS) == [
        InputSlice("return_1", 0, 1),
        InputSlice("return_5", 1, 1),
        InputSlice("history", 2, 8),
    ]


def test_the_layout_follows_the_config_not_the_columns():
    config = complete(HISTORY_INPUTS, input_features=[{"name": "history"}, {"name": "return_5"}])
    assert layout(config, HISTORY_INPUTS) == [InputSlice("history", 2, 8), InputSlice("return_5", 1, 1)]


def test_a_long_history_keeps_its_order():
    inputs = input_columns(FeatureSpec(history=120), "close")
    steps = history_inputs(inputs)
    assert steps == [f"history_{i:03d}" for i in range(120)]
    assert layout(build_config(model_spec(), inputs), inputs) == [
        InputSlice("close", 0, 1),
        InputSlice("history", 1, 120),
    ]


@pytest.mark.parametrize("key", sorted(NOT_OURS))
def test_every_section_that_is_refused_is_documented_and_named(key: str):
    refused = DOCUMENT.read_text().partition("## What cannot be used")[2].partition("\n## ")[0]
    assert f"`{key}`" in refused
    with pytest.raises(ConfigError, match=f"ludwig.{key}: has no effect here"):
        complete(**{key: {}})


columns = st.lists(st.sampled_from(["return_1", "return_5", "volatility_5", "month"]), unique=True, min_size=1)


@given(columns, st.integers(0, 40), st.booleans())
def test_the_layout_of_all_inputs_covers_every_column_once(names: list[str], steps: int, pooled: bool):
    inputs = (*names, *(f"history_{age}" for age in range(steps, 0, -1)))
    spec = model_spec(pool=("AAA", "BBB") if pooled else ())
    parts = layout(build_config(spec, inputs), inputs)
    covered = [at for part in parts for at in range(part.start, part.start + part.width)]
    assert sorted(covered) == list(range(len(inputs)))
    assert {part.name for part in parts} == {*names, *(["history"] if steps else [])}


@given(columns, st.data())
def test_a_config_that_names_some_columns_gets_these_in_its_order(names: list[str], data: st.DataObject):
    chosen = data.draw(st.permutations(names).map(lambda order: order[: max(1, len(order) // 2)]))
    config = build_config(model_spec(ludwig={"input_features": [{"name": name} for name in chosen]}), names)
    assert [(part.name, names[part.start], part.width) for part in layout(config, names)] == [
        (name, name, 1) for name in chosen
    ]


@given(columns)
def test_completing_a_completed_config_changes_nothing_but_the_split(names: list[str]):
    config = build_config(model_spec(), names)
    again = copy.deepcopy(config)
    again["preprocessing"].pop("split")
    assert build_config(model_spec(ludwig=again), names) == config
