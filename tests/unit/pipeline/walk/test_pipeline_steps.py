"""The steps of a walk: which model is retrained at which date, and what is trained already."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.load import Branch
from mlops_cli.config.schemas.project import ModelSpec, Retrain, Scenario
from mlops_cli.errors import MlopsError
from mlops_cli.pipeline.stages.tables import write_table
from mlops_cli.pipeline.walk.steps import Step, StepPlan
from tests.fakes.branches import branch_of, write_features
from tests.fakes.model_folders import model_folder
from tests.fakes.train_jobs import model_spec

SCENARIO = Scenario(start=date(2015, 11, 16), days=90)
A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")
DAYS = [date(2015, 12, 1), date(2016, 1, 4), date(2016, 2, 1)]


class Planned:
    """A step plan of a branch in a folder, and the failures that it reported."""

    def __init__(self, root: Path, *specs: ModelSpec, every: Retrain = "monthly") -> None:
        self.failures: list[tuple[str, date | None]] = []
        self.branch: Branch = branch_of(*specs)
        self.plan = StepPlan(self.branch, root / "features", root / "store", self._fail)
        self.plan.make(specs, SCENARIO, every)

    def _fail(self, model: str, day: date | None, error: MlopsError) -> None:
        self.failures.append((model, day))

    def steps(self) -> list[tuple[str, date]]:
        return [(step.model, step.day) for step in self.plan.steps]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, spec in enumerate((A, B)):
        write_features(tmp_path / "features", spec, seed=seed)
    return tmp_path


def store(step: Step) -> None:
    """Put a model with the fingerprint of a step where the step's model belongs."""
    changes = {"fingerprint": step.plan.mark, "inputs": step.plan.inputs, "ticker": step.plan.spec.ticker}
    made = model_folder(step.folder.parent, f"{step.model}-made", **changes)
    made.rename(step.folder)


def test_every_model_has_a_step_at_every_date_but_the_first(root: Path) -> None:
    planned = Planned(root, A, B)
    assert planned.plan.dates == [date(2015, 11, 16), *DAYS]
    assert planned.steps() == [(name, day) for name in ("red-a", "red-b") for day in DAYS]
    assert planned.plan.todo == planned.plan.steps
    assert planned.failures == []


def test_a_step_reaches_to_the_next_and_the_last_to_the_end_of_the_scenario(root: Path) -> None:
    steps = Planned(root, A).plan.steps
    assert [step.until for step in steps] == [*DAYS[1:], SCENARIO.end]
    assert [step.folder for step in steps] == [root / "store" / "red-a" / str(day) for day in DAYS]


def test_a_step_is_planned_on_what_was_known_by_its_date(root: Path) -> None:
    for step in Planned(root, A).plan.steps:
        assert step.plan.trained_until < step.day
        assert (pd.Timestamp(step.day) - pd.Timestamp(step.plan.trained_until)).days <= 5, "and on all of it"
    marks = {step.plan.mark for step in Planned(root, A).plan.steps}
    assert len(marks) == 3


@pytest.mark.parametrize("every", ["never", 10_000])
def test_a_single_date_has_no_steps(root: Path, every: Retrain) -> None:
    planned = Planned(root, A, B, every=every)
    assert (planned.plan.dates, planned.plan.steps) == ([date(2015, 11, 16)], [])


def test_a_stored_step_is_not_trained_again_and_its_validation_is_at_hand(root: Path) -> None:
    first = Planned(root, A, B).plan.steps[0]
    store(first)
    plan = Planned(root, A, B).plan
    assert first.folder not in {step.folder for step in plan.todo}
    assert len(plan.todo) == 5
    (validation,) = plan.validations.values()
    assert len(validation.log_return) == first.plan.validation.sessions


@pytest.mark.parametrize("damage", ["other fingerprint", "changed file", "no graph"])
def test_a_stored_step_that_is_not_what_it_must_be_is_trained_again(root: Path, damage: str) -> None:
    first = Planned(root, A).plan.steps[0]
    store(first)
    match damage:
        case "other fingerprint":
            write_features(root / "features", A, seed=5)
        case "changed file":
            (first.folder / "model.onnx").write_bytes(b"no graph")
        case _:
            (first.folder / "model.onnx").unlink()
    assert first.folder in {step.folder for step in Planned(root, A).plan.todo}


def test_a_model_without_features_is_reported_and_the_others_are_planned(root: Path) -> None:
    lost = model_spec("red-c", ticker="C")
    planned = Planned(root, A, lost)
    assert planned.failures == [("red-c", None)]
    assert {name for name, _ in planned.steps()} == {"red-a"}


def test_a_model_with_too_short_a_history_is_reported_at_each_such_date(root: Path) -> None:
    table = write_features(root / "features", B, seed=1)
    write_table(root / "features", "red-b", table.loc[table.index >= pd.Timestamp("2015-07-20")])
    planned = Planned(root, A, B)
    assert [day for name, day in planned.failures if name == "red-b"] == [date(2015, 12, 1)]
    assert ("red-b", DAYS[2]) in planned.steps()


def test_a_model_without_sessions_after_a_date_has_no_step_there(root: Path) -> None:
    table = write_features(root / "features", B, seed=1)
    write_table(root / "features", "red-b", table.loc[table["target_session"] < pd.Timestamp("2016-01-04")])
    assert [day for name, day in Planned(root, A, B).steps() if name == "red-b"] == [DAYS[0]]


class TestPools:
    POOL = tuple(spec.model_copy(update={"pool": ("A", "B")}) for spec in (A, B))

    def test_the_members_have_the_pools_fingerprint(self, root: Path) -> None:
        alone = {(step.model, step.day): step.plan.mark for step in Planned(root, A, B).plan.steps}
        for step in Planned(root, *self.POOL).plan.steps:
            assert step.plan.mark != alone[step.model, step.day]

    def test_all_members_of_a_date_are_trained_where_one_is_missing(self, root: Path) -> None:
        steps = Planned(root, *self.POOL).plan.steps
        first = [step for step in steps if step.day == DAYS[0]]
        store(first[0])
        assert len(Planned(root, *self.POOL).plan.todo) == 6
        store(first[1])
        plan = Planned(root, *self.POOL).plan
        assert sorted({step.day for step in plan.todo}) == DAYS[1:]
        assert set(plan.validations) == {step.folder for step in first}

    def test_a_member_without_later_sessions_still_helps_the_others(self, root: Path) -> None:
        table = write_features(root / "features", B, seed=1)
        write_table(root / "features", "red-b", table.loc[table["target_session"] < pd.Timestamp("2016-01-04")])
        assert [day for name, day in Planned(root, *self.POOL).steps() if name == "red-b"] == DAYS
