"""Pooled models in the stages: what trains the whole pool again, and what one member's trouble does to the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.predict import Model
from mlops_cli.pipeline.stages.stage import StageReport
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import FEATURES, SmallProject, small_project

ALL = ["pool-aaa", "pool-bbb", "pool-ccc"]


def pool_of(*tickers: str, more: str = "") -> str:
    return f"team: pool\ntickers: [{', '.join(tickers)}]\npool: true\nfeatures: {FEATURES}\n{more}"


@pytest.fixture
def small(tmp_path: Path) -> SmallProject:
    made = small_project(tmp_path / "p")
    made.config("linear", pool_of("AAA", "BBB", "CCC"))
    return made


def train(
    small: SmallProject, refuse: tuple[str, ...] = (), only: str | None = None
) -> tuple[LinearTrainer, list[StageReport]]:
    """Run all stages; the trainer remembers what it trained."""
    trainer = LinearTrainer(refuse=refuse)
    return trainer, small.run(trainer, only)


def test_a_pool_is_trained_once_and_finished(small: SmallProject) -> None:
    trainer, reports = train(small)
    assert trainer.trained == ALL
    assert [report.exit_code for report in reports] == [0, 0, 0, 0]
    models = [Model.open(small.project.models("main") / name) for name in ALL]
    assert len({model.manifest.shrinkage for model in models}) == 1
    assert len({model.manifest.fingerprint for model in models}) == 3
    trainer, reports = train(small)
    assert trainer.trained == []
    assert reports[2].unchanged == ALL


def test_new_rows_of_one_member_train_the_whole_pool(small: SmallProject) -> None:
    train(small)
    small.config("alone", f"team: red\ntickers: [AAA, BBB]\nfeatures: {FEATURES}\n")
    train(small)
    small.prices("BBB", random_prices(700, 11))
    trainer, _ = train(small)
    assert sorted(trainer.trained) == [*ALL, "red-bbb"]


def test_a_member_that_comes_or_goes_trains_the_whole_pool(small: SmallProject) -> None:
    train(small)
    small.prices("DDD", random_prices(700, 12))
    small.config("linear", pool_of("AAA", "BBB", "CCC", "DDD"))
    assert train(small)[0].trained == [*ALL, "pool-ddd"]
    small.config("linear", pool_of("AAA", "DDD"))
    assert train(small)[0].trained == ["pool-aaa", "pool-ddd"]


def test_a_member_that_cannot_be_trained_is_reported_and_the_others_train_without_it(small: SmallProject) -> None:
    small.prices("BBB", random_prices(150, 1, start="2017-01-03"))
    trainer, reports = train(small)
    assert trainer.trained == ["pool-aaa", "pool-ccc"]
    (failure,) = reports[2].failures
    assert (failure.model, failure.exit_code) == ("pool-bbb", 4)
    assert "history too short" in failure.reason
    assert read_manifest(small.project.models("main") / "pool-aaa").shrinkage is not None
    assert train(small)[0].trained == []  # the two are done; the third is still too short
    small.prices("BBB", random_prices(700, 1))
    trainer, reports = train(small)
    assert trainer.trained == ALL  # and now it is another pool
    assert reports[2].exit_code == 0


def test_a_member_whose_training_failed_is_tried_again_with_all(small: SmallProject) -> None:
    trainer, reports = train(small, refuse=("pool-ccc",))
    assert trainer.trained == ["pool-aaa", "pool-bbb"]
    assert [failure.model for failure in reports[2].failures] == ["pool-ccc"]
    assert train(small)[0].trained == ALL


def test_a_part_of_a_pool_is_not_trained_alone(small: SmallProject) -> None:
    small.run(LinearTrainer(refuse=tuple(ALL)))
    trainer, reports = train(small, only="pool-aaa")
    assert trainer.trained == []
    (failure,) = reports[2].failures
    assert failure.exit_code == 3
    assert failure.reason.startswith("pool-aaa: must be trained together with the others of its pool: pool-aaa, pool-")
    assert "--only" in failure.reason
    trainer, _ = train(small, only="pool-*")
    assert trainer.trained == ALL
    trainer, reports = train(small, only="pool-aaa")  # nothing to train: nothing to refuse
    assert reports[2].unchanged == ["pool-aaa"]
    assert reports[2].failures == []
