"""States as arrays, there and back."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from mlops_cli.live.health.board import Board
from mlops_cli.live.health.calibration import Calibration, NotJudged, Usual
from mlops_cli.live.health.state import Health, ModelHealth, Run, State

DAY, LATER = date(2024, 3, 4), date(2024, 3, 5)
USUAL = Usual(
    version="2",
    sessions=250,
    naive_error=0.01,
    last_naive_error=0.012,
    loss=0.003,
    spread=0.08,
    own_mean=0.0,
    own_spread=0.9,
)
STORED = ModelHealth(
    version="2",
    state=State.WATCH,
    since=DAY,
    reason="why",
    naive_error=0.02,
    cusum=3.5,
    peak=7.25,
    sessions=17,
    missed=1,
    run=Run(began=DAY, sessions=3, loss=0.25, total=1.5, squares=9.0),
)


def calibration(*names: str) -> Calibration:
    return Calibration(models=dict.fromkeys(names, USUAL), not_judged={}, nulls={}, fleet=None)


def board(**models: ModelHealth) -> Board:
    return Board.of(Health(session=DAY, models=models), calibration("a", "b"))


def test_states_come_back_as_they_were() -> None:
    other = STORED.model_copy(update={"state": State.HEALTHY, "reason": "", "run": Run(), "cusum": 0.0})
    assert board(b=other, a=STORED).models() == {"a": STORED, "b": other}


def test_a_new_model_starts_with_the_scale_of_its_reference() -> None:
    new = board(a=STORED).models()["b"]
    assert new == ModelHealth(
        version="2", since=DAY, reason="no forecast of this version is settled yet", naive_error=0.012
    )


def test_a_new_version_starts_anew_with_the_scale_of_the_stock() -> None:
    old = STORED.model_copy(update={"version": "1", "state": State.BROKEN})
    made = board(a=old, b=STORED)
    assert made.retrained == 1
    assert made.models()["a"] == ModelHealth(
        version="2", since=DAY, reason="no forecast of this version is settled yet", naive_error=0.02
    )


def test_a_model_that_could_not_be_judged_starts_with_the_scale_of_its_reference() -> None:
    unjudged = ModelHealth(version="2", since=DAY, reason="its reference is too short")
    made = board(a=unjudged)
    assert made.retrained == 0
    assert made.models()["a"].naive_error == 0.012


def test_a_state_is_set_once() -> None:
    made = board(a=STORED, b=STORED.model_copy(update={"state": State.HEALTHY}))
    both = np.array([True, True])
    assert made.set_state(both, State.WATCH, LATER).tolist() == [1]
    assert (made.models()["a"].since, made.models()["a"].reason) == (DAY, "why")
    assert (made.models()["b"].since, made.models()["b"].reason) == (LATER, "")
    assert made.set_state(both, State.WATCH, LATER).size == 0


def test_a_run_is_forgotten_where_it_is_said() -> None:
    made = board(a=STORED, b=STORED)
    made.clear_runs(np.array([False, True]))
    assert made.run_of(0) == STORED.run
    assert made.run_of(1) == Run()


def test_no_models_make_an_empty_board() -> None:
    empty = Board.of(Health(), Calibration(models={}, not_judged={}, nulls={}, fleet=None))
    assert empty.models() == {}
    assert (empty.cusum.shape, empty.retrained) == ((0,), 0)


def test_only_models_that_can_be_judged_are_on_the_board() -> None:
    usual = calibration("a").model_copy(update={"not_judged": {"b": NotJudged(version="1", reason="short")}})
    assert Board.of(Health(), usual).names == ("a",)


@pytest.mark.parametrize("field", ["cusum", "peak", "naive_error"])
def test_arrays_do_not_share_memory(field: str) -> None:
    made = board(a=STORED, b=STORED)
    before = made.models()["a"]
    getattr(made, field)[0] += 1.0
    assert made.models()["a"] == before.model_copy(update={field: getattr(before, field) + 1.0})
