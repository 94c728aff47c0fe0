"""What the libraries say, in one line that names the key."""

from __future__ import annotations

from typing import Any

import jsonschema
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.training.ludwig_errors import LONGEST, dotted, meant, refusal_text, unknown_keys

SCHEMA = {
    "type": "object",
    "properties": {
        "trainer": {
            "type": "object",
            "properties": {"learning_rate": {"type": "number"}, "epochs": {"type": "integer", "minimum": 1}},
            "additionalProperties": False,
        },
        "input_features": {"type": "array", "items": {"properties": {"encoder": {"enum": ["rnn", "dense"]}}}},
    },
}


class Optimizer(pydantic.BaseModel):
    rate: float

    @pydantic.field_validator("rate")
    @classmethod
    def _positive(cls, rate: float) -> float:
        if rate <= 0:
            raise ValueError("the rate must be positive")
        return rate


class Trainer(pydantic.BaseModel):
    optimizers: list[Optimizer]


def wrapped(cause: BaseException) -> RuntimeError:
    """As Ludwig does: an error of its own around the real one."""
    try:
        raise RuntimeError("something is wrong with the config") from cause
    except RuntimeError as error:
        return error


def schema_error(config: dict[str, Any]) -> jsonschema.ValidationError:
    with pytest.raises(jsonschema.ValidationError) as refusal:
        jsonschema.validate(config, SCHEMA)
    return refusal.value


def model_error(data: dict[str, Any]) -> pydantic.ValidationError:
    with pytest.raises(pydantic.ValidationError) as refusal:
        Trainer.model_validate(data)
    return refusal.value


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"trainer": {"epochs": 0}}, "ludwig.trainer.epochs: 0 is less than the minimum of 1"),
        ({"trainer": 5}, "ludwig.trainer: 5 is not of type 'object'"),
        (
            {"input_features": [{}, {"encoder": "gru"}]},
            "ludwig.input_features[1].encoder: 'gru' is not one of ['rnn', 'dense']",
        ),
        (
            {"trainer": {"learning_rat": 0.1}},
            "ludwig.trainer: unknown key learning_rat (did you mean learning_rate?)",
        ),
        ({"trainer": {"epochs": 1, "colour": 1}}, "ludwig.trainer: unknown key colour"),
    ],
)
def test_a_schema_error_names_its_key(config: dict[str, Any], text: str):
    assert refusal_text(schema_error(config)) == text
    assert refusal_text(wrapped(schema_error(config))) == text


def test_a_missing_key_of_a_model_is_named():
    assert refusal_text(wrapped(model_error({"optimizers": [{}]}))) == "ludwig.optimizers[0].rate: Field required"


def test_the_error_inside_a_validator_is_the_first_cause():
    assert refusal_text(model_error({"optimizers": [{"rate": -1}]})) == "the rate must be positive"


def test_the_deepest_cause_counts():
    assert refusal_text(wrapped(wrapped(wrapped(ValueError("here it is"))))) == "here it is"


def test_of_import_errors_the_outer_one_counts():
    outer = ImportError("pip install tabpfn")
    outer.__cause__ = ModuleNotFoundError("No module named 'tabpfn'")
    assert refusal_text(wrapped(outer)) == "pip install tabpfn"


def test_lines_and_colours_are_taken_out_and_long_ones_cut():
    assert refusal_text(RuntimeError("\x1b[96mstep\x1b[0m\n   3/3 ")) == "step 3/3"
    text = refusal_text(RuntimeError("x" * 10_000))
    assert text == "x" * LONGEST + " …"


def test_an_error_without_words_is_called_by_its_name():
    assert refusal_text(AssertionError()) == "AssertionError"
    assert refusal_text(KeyError("x")) == "KeyError 'x'"


def test_known_keys_are_not_reported():
    complete = {"combiner": {"type": "concat", "dropout": 0.0}, "input_features": [{"name": "a", "encoder": {}}]}
    assert unknown_keys({"combiner": {"dropout": 0.5}, "input_features": [{"name": "a"}]}, complete) == []


def test_unknown_keys_are_found_at_any_depth_with_what_may_have_been_meant():
    complete = {"combiner": {"num_fc_layers": 1}, "input_features": [{"encoder": {"type": "rnn", "state_size": 1}}]}
    given = {"combiner": {"num_layers": 2}, "input_features": [{"encoder": {"state_siz": 1, "zzz": 1}}], "colour": 1}
    assert unknown_keys(given, complete) == [
        "ludwig.combiner.num_layers (did you mean num_fc_layers?)",
        "ludwig.input_features[0].encoder.state_siz (did you mean state_size?)",
        "ludwig.input_features[0].encoder.zzz",
        "ludwig.colour",
    ]


def test_what_ludwig_wrote_otherwise_is_not_compared():
    assert unknown_keys({"a": {"b": 1}, "c": [1, 2], "d": {"e": 1}}, {"a": None, "c": [1], "d": "text"}) == []


def test_paths_are_written_as_in_the_file():
    assert dotted(["ludwig", "output_features", 0, "loss", "type"]) == "ludwig.output_features[0].loss.type"
    assert dotted([]) == ""


configs = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(configs)
def test_a_config_knows_all_of_its_own_keys(config: Any):
    assert unknown_keys(config, config) == []


@given(st.dictionaries(st.text(max_size=5), configs, max_size=3))
def test_every_key_is_unknown_to_an_empty_config(config: dict[str, Any]):
    assert unknown_keys(config, {}) == [f"ludwig.{key}" for key in config]


@given(st.text(max_size=600))
def test_a_reason_is_one_short_line(text: str):
    line = refusal_text(RuntimeError(text))
    assert len(line) <= LONGEST + 2
    assert "\n" not in line


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("epoch", " (did you mean epochs?)"), ("zzz", ""), ("", ""), ("epochs", " (did you mean epochs?)")],
)
def test_only_a_near_key_is_suggested(key: str, suggestion: str):
    assert meant(key, ["epochs", "batch_size"]) == suggestion
