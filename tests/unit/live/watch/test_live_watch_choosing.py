"""How many of the models that are due a pass trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlops_cli.config.load import Branch
from mlops_cli.config.schemas.live import LiveRetrain
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.live.watch.choosing import choose
from mlops_cli.live.watch.due import Due, Reason
from tests.fakes.branches import branch_of
from tests.fakes.train_jobs import model_spec


def items(*specs: ModelSpec, reason: Reason = "age") -> list[Due]:
    return [Due("main", spec, reason, "words") for spec in specs]


def chosen(at_most: int, *specs: ModelSpec, models: tuple[ModelSpec, ...] = ()) -> tuple[list[str], list[str]]:
    branches: Mapping[str, Branch] = {"main": branch_of(*(models or specs))}
    trained, waiting = choose(items(*specs), branches, LiveRetrain(at_most=at_most))
    return [item.spec.name for item in trained], [item.spec.name for item in waiting]


def test_so_many_are_trained_and_the_rest_waits() -> None:
    specs = [model_spec(f"red-{number}") for number in range(5)]
    assert chosen(2, *specs) == (["red-0", "red-1"], ["red-2", "red-3", "red-4"])
    assert chosen(9, *specs)[1] == []
    assert chosen(0, *specs)[0] == []


def test_a_pool_counts_whole() -> None:
    pool = tuple(model_spec(f"red-{name}", ticker=name.upper(), pool=("A", "B", "C")) for name in "abc")
    single = model_spec("red-z", ticker="Z", trainer="drift")
    assert chosen(3, pool[0], single, pool[1], models=(*pool, single)) == (["red-a", "red-b"], ["red-z"])
    assert chosen(2, single, pool[0], models=(*pool, single)) == (["red-z"], ["red-a"])
    assert chosen(2, pool[0], single, models=(*pool, single)) == (["red-a"], ["red-z"])  # larger than a pass allows


def test_models_that_cannot_forecast_never_wait_and_do_not_count() -> None:
    specs = [model_spec(f"red-{number}") for number in range(4)]
    due = [*items(*specs[:2], reason="features"), *items(*specs[2:])]
    for at_most, trained in ((0, 2), (1, 3), (2, 4)):
        assert choose(due, {"main": branch_of(*specs)}, LiveRetrain(at_most=at_most)) == (due[:trained], due[trained:])


def test_the_pool_of_a_model_that_cannot_forecast_does_not_count_either() -> None:
    pool = [model_spec(f"red-{name}", ticker=name.upper(), pool=("A", "B")) for name in "ab"]
    single = model_spec("red-z", ticker="Z")
    due = [*items(single), *items(pool[0]), *items(pool[1], reason="features")]
    assert choose(due, {"main": branch_of(*pool, single)}, LiveRetrain(at_most=1)) == (due, [])


def test_a_pool_larger_than_a_pass_allows_is_trained_in_the_end_whatever_comes_before_it() -> None:
    pool = [model_spec(f"red-{name}", ticker=name.upper(), pool=("A", "B", "C")) for name in "abc"]
    single, other = model_spec("red-y", ticker="Y"), model_spec("red-z", ticker="Z")
    branches = {"main": branch_of(*pool, single, other)}
    retrain = LiveRetrain(at_most=2, max_age_sessions=10)
    for age, trained in ((20, ["red-y", "red-z"]), (21, ["red-y", "red-a"])):
        due = [*items(single, reason="degraded"), replace(items(pool[0])[0], age=age), *items(other)]
        assert [item.spec.name for item in choose(due, branches, retrain)[0]] == trained
