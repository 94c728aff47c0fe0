"""Our facts in MLflow's words: what can be said without MLflow."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.tracking.mlflow_entities import (
    MAX_DIGEST,
    MAX_KEY,
    MAX_PARAM,
    clean_key,
    flat,
    grouped_metrics,
    source_tags,
    with_fingerprints,
)
from mlops_cli.tracking.tracker import RunContext

names = st.text(max_size=300)
nested = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
    lambda inner: st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(names)
def test_a_clean_key_is_one_that_mlflow_takes(text: str) -> None:
    key = clean_key(text)
    assert re.fullmatch(r"[A-Za-z0-9_ -][A-Za-z0-9_. -]*", key)
    assert len(key) <= MAX_KEY
    assert clean_key(key) == key


def test_an_ordinary_key_stays_as_it_is() -> None:
    assert clean_key("ludwig.trainer.learning_rate") == "ludwig.trainer.learning_rate"


def leaves(value: object) -> int:
    return sum(leaves(item) for item in value.values()) if isinstance(value, dict) and value else 1


@given(st.dictionaries(names, nested, max_size=5))
def test_flattening_loses_no_value_and_keeps_the_limits(params: dict[str, object]) -> None:
    result = flat(params)
    assert len(result) == sum(leaves(value) for value in params.values())
    assert all(0 < len(key) <= 250 and len(value) <= MAX_PARAM for key, value in result.items())


def test_nested_params_get_dotted_keys_and_text_values() -> None:
    params = {"trainer": {"epochs": 10, "optimizer": {"type": "adam"}}, "inputs": ["a", "b"], "empty": {}, "rate": 0.1}
    assert flat(params) == {
        "trainer.epochs": "10",
        "trainer.optimizer.type": "adam",
        "inputs": "['a', 'b']",
        "empty": "{}",
        "rate": "0.1",
    }


def test_keys_that_collide_are_numbered_not_overwritten() -> None:
    assert flat({"a.b": 1, "a": {"b": 2}, "a?b": 3, "a!b": 4}) == {"a.b": "1", "a.b_2": "2", "a_b": "3", "a_b_2": "4"}


def test_a_long_value_is_cut() -> None:
    assert flat({"config": "x" * 10_000}) == {"config": "x" * MAX_PARAM}


def test_many_fingerprints_make_one_question() -> None:
    assert with_fingerprints(["ab", "c" * 64]) == f"dataset.digest IN ('ab', '{'c' * MAX_DIGEST}')"


def test_the_code_behind_a_run_stands_where_mlflow_shows_it() -> None:
    tags = source_tags(RunContext(git_commit="abc+dirty", command="mlops train"))
    assert tags["mlflow.source.git.commit"] == "abc+dirty"
    assert tags["mlflow.source.name"] == "mlops train"


def test_metrics_of_a_group_fit_into_mlflows_limit_whatever_they_are_called() -> None:
    (metric,) = grouped_metrics("validation", {"m" * 300: 1.0}, at=5)
    assert metric.key.startswith("validation/mmm")
    assert len(metric.key) <= 250
    assert (metric.value, metric.timestamp, metric.step) == (1.0, 5, 0)
