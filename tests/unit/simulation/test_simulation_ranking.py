"""The order of models in reports, and which are shown of many."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.simulation.ranking import best_and_worst

RATIOS = st.lists(st.none() | st.floats(0.5, 2.0), max_size=30)


def rows(*ratios: float | None) -> list[dict[str, Any]]:
    return [{"model": f"m{place:02d}", "mae_ratio": ratio} for place, ratio in enumerate(ratios)]


def names(part: list[Any]) -> list[str]:
    return [row["model"] for row in part]


def test_the_lowest_ratio_comes_first_ties_by_name_and_undefined_ones_last() -> None:
    best, worst = best_and_worst(rows(1.0, None, 0.9, 1.0, None), at_most=5, each=2)
    assert names(best) == ["m02", "m00", "m03", "m01", "m04"]
    assert worst == []


@pytest.mark.parametrize(("count", "shown"), [(4, (4, 0)), (5, (5, 0)), (6, (2, 2)), (9, (2, 2))])
def test_of_many_only_both_ends_are_shown(count: int, shown: tuple[int, int]) -> None:
    best, worst = best_and_worst(rows(*range(count)), at_most=5, each=2)
    assert (len(best), len(worst)) == shown


def test_the_worst_are_listed_best_first_too() -> None:
    best, worst = best_and_worst(rows(5, 4, 3, 2, 1, 0), at_most=5, each=2)
    assert (names(best), names(worst)) == (["m05", "m04"], ["m01", "m00"])


def test_no_models_give_nothing() -> None:
    assert best_and_worst([], 5, 2) == ([], [])


@given(RATIOS, st.integers(2, 12), st.randoms())
def test_the_choice_does_not_depend_on_the_order_given(ratios: list[float | None], at_most: int, random: Any) -> None:
    models = rows(*ratios)
    mixed = list(models)
    random.shuffle(mixed)
    assert best_and_worst(mixed, at_most, 1) == best_and_worst(models, at_most, 1)


@given(RATIOS, st.integers(2, 12))
def test_no_model_is_shown_twice_and_none_left_out_is_better_than_the_best(
    ratios: list[float | None], at_most: int
) -> None:
    models = rows(*ratios)
    best, worst = best_and_worst(models, at_most, at_most // 2)
    shown = names(best) + names(worst)
    assert len(shown) == len(set(shown)) <= max(at_most, 2 * (at_most // 2))
    if worst:
        hidden = [row["mae_ratio"] for row in models if row["model"] not in shown and row["mae_ratio"] is not None]
        last = best[-1]["mae_ratio"]
        assert last is None or all(ratio >= last for ratio in hidden)
