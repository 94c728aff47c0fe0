"""Pools before Ludwig sees them: how jobs are grouped, what their configs become, how batches are shared out."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.training.ludwig_config import build_config, layout
from mlops_cli.training.tasks import group_tasks
from mlops_cli.training.trainer import TrainJob
from tests.fakes.train_jobs import HISTORY, model_spec

POOL = ("AAA", "BBB")
INPUTS = ("return_1", "return_5")


def job(name: str, **changes: object) -> TrainJob:
    spec = model_spec(name, **changes)
    return TrainJob(spec, Path("t.parquet"), INPUTS, date(2020, 1, 2), date(2021, 1, 4), 7, Path(name))


def pooled(name: str, **changes: object) -> TrainJob:
    return job(name, **{"pool": POOL, "file": "configs/p.yaml", **changes})


def names(tasks: list[list[TrainJob]]) -> list[list[str]]:
    return [[one.spec.name for one in task] for task in tasks]


def test_members_of_a_pool_come_together_and_other_jobs_alone():
    jobs = [job("a"), pooled("p-1", ticker="AAA"), job("b"), pooled("p-2", ticker="BBB"), job("c")]
    assert names(group_tasks(jobs)) == [["a"], ["p-1", "p-2"], ["b"], ["c"]]


def test_pools_that_differ_in_anything_but_the_ticker_stay_apart():
    first = pooled("p-1")
    others = [
        pooled("q-1", file="configs/q.yaml"),
        pooled("r-1", ludwig={"trainer": {"epochs": 3}}),
        replace(pooled("s-1"), end=first.end + timedelta(days=30)),  # a later retraining of the same pool
        replace(pooled("t-1"), seed=8),
    ]
    assert names(group_tasks([first, *others])) == [["p-1"], ["q-1"], ["r-1"], ["s-1"], ["t-1"]]


def test_the_ticker_is_added_to_the_inputs_and_stands_in_no_column():
    config = build_config(pooled("p-1").spec, INPUTS)
    assert [(one["name"], one["type"]) for one in config["input_features"]] == [
        ("return_1", "number"),
        ("return_5", "number"),
        ("ticker", "category"),
    ]
    assert [part.name for part in layout(config, INPUTS)] == ["return_1", "return_5"]
    steps = ("return_1", *(f"history_{age}" for age in (2, 1)))
    config = build_config(pooled("p-1", features=HISTORY).spec, steps)
    assert [one["type"] for one in config["input_features"]] == ["number", "timeseries", "category"]


def test_a_given_list_of_inputs_gets_the_ticker_unless_it_holds_it():
    spec = pooled("p-1", ludwig={"input_features": [{"name": "return_5"}]}).spec
    assert [one["name"] for one in build_config(spec, INPUTS)["input_features"]] == ["return_5", "ticker"]
    own = {"name": "ticker", "encoder": {"type": "onehot"}}
    spec = pooled("p-1", ludwig={"input_features": [own, {"name": "return_5"}]}).spec
    first, second = build_config(spec, INPUTS)["input_features"]
    assert (first["name"], first["type"], first["encoder"]) == ("ticker", "category", {"type": "onehot"})
    assert second["name"] == "return_5"


def test_only_pooled_models_know_a_ticker():
    spec = model_spec(ludwig={"input_features": [{"name": "ticker", "type": "category"}]})
    with pytest.raises(ConfigError, match="no column 'ticker'"):
        build_config(spec, INPUTS)
