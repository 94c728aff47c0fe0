"""The median stopping rule, without torch."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.training.engine.fleet.loss_history import LossHistory, behind_median

losses = st.floats(0, 1e3)
fleets = st.integers(1, 6).flatmap(
    lambda evaluations: st.lists(st.lists(losses, min_size=evaluations, max_size=evaluations), min_size=1, max_size=8)
)


def histories_of(*histories: list[float]) -> list[LossHistory]:
    return [LossHistory([(math.nan, loss) for loss in history]) for history in histories]


def test_the_mean_is_over_all_evaluations():
    (history,) = histories_of([1.0, 2.0, 6.0])
    assert history.mean_validation_loss == 3.0
    assert math.isnan(LossHistory().mean_validation_loss)


def test_a_model_above_the_median_of_the_others_is_behind():
    fleet = histories_of([1.0, 1.0], [2.0, 2.0], [9.0, 9.0])
    assert behind_median(fleet, range(3), 2) == {2}  # the median of two is between them


def test_its_last_loss_counts_and_the_mean_of_the_others():
    fleet = histories_of([9.0, 1.0], [3.0, 3.0], [3.0, 3.0], [3.0, 3.0])
    assert behind_median(fleet, [0], 2) == set()
    fleet = histories_of([1.0, 9.0], [3.0, 3.0], [3.0, 3.0], [3.0, 3.0])
    assert behind_median(fleet, [0], 2) == {0}


def test_a_loss_at_the_median_is_not_behind():
    assert behind_median(histories_of([2.0], [2.0], [2.0]), range(3), 1) == set()


@pytest.mark.parametrize(("grace", "behind"), [(None, set()), (3, set()), (2, {2}), (1, {2})])
def test_nothing_is_stopped_before_the_grace_is_over(grace, behind):
    fleet = histories_of([1.0, 1.0], [1.0, 1.0], [9.0, 9.0])
    assert behind_median(fleet, range(3), grace) == behind


def test_two_models_have_no_median():
    assert behind_median(histories_of([1.0], [9.0]), range(2), 1) == set()


def test_stopped_models_count_but_are_not_stopped_again():
    fleet = histories_of([1.0], [2.0], [9.0])
    fleet[0].stopped = fleet[2].stopped = "early"
    assert behind_median(fleet, range(3), 1) == set()  # the median of the others is (1 + 9) / 2
    fleet[1].losses = [(math.nan, 6.0)]
    assert behind_median(fleet, range(3), 1) == {1}


def test_models_that_were_never_evaluated_do_not_count():
    fleet = [*histories_of([1.0], [1.0], [3.0]), LossHistory(stopped="not finite")]
    assert behind_median(fleet, range(4), 1) == {2}


@given(fleets, st.integers(1, 6))
def test_only_asked_models_stop_and_never_the_best(histories: list[list[float]], grace: int):
    fleet = histories_of(*histories)
    asked = range(0, len(fleet), 2)
    behind = behind_median(fleet, asked, grace)
    assert behind <= set(asked)
    best = min(range(len(fleet)), key=lambda model: histories[model][-1])
    if all(len(set(history)) == 1 for history in histories):
        assert best not in behind


@given(fleets, st.randoms(use_true_random=False))
def test_the_order_of_the_models_does_not_matter(histories: list[list[float]], random):
    order = list(range(len(histories)))
    random.shuffle(order)
    behind = behind_median(histories_of(*histories), range(len(histories)), 1)
    shuffled = behind_median(histories_of(*(histories[model] for model in order)), range(len(histories)), 1)
    assert {order[position] for position in shuffled} == behind
