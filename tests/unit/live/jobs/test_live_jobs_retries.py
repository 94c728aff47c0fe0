from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.live.jobs.retries import RetryPolicy


def test_waits_double_up_to_the_longest() -> None:
    policy = RetryPolicy(first_seconds=5, longest_seconds=60, jitter=0)
    assert [policy.delay(attempts, Random(0)) for attempts in (0, 1, 2, 3, 4, 5, 1000)] == [5, 5, 10, 20, 40, 60, 60]


def test_equal_seeds_give_equal_waits() -> None:
    policy = RetryPolicy()
    waits = [[policy.delay(2, chance) for _ in range(5)] for chance in (Random(3), Random(3), Random(4))]
    assert waits[0] == waits[1] != waits[2]
    assert len(set(waits[0])) == 5


@given(attempts=st.integers(0, 10**6), jitter=st.floats(0, 1), seed=st.integers())
def test_no_wait_is_negative_or_beyond_the_bound(attempts: int, jitter: float, seed: int) -> None:
    policy = RetryPolicy(jitter=jitter)
    assert 0 <= policy.delay(attempts, Random(seed)) <= policy.longest_delay


@given(limit=st.integers(1, 10_000), lost=st.integers(0, 10**6))
def test_fleets_of_suspects_shrink_to_one_job(limit: int, lost: int) -> None:
    policy = RetryPolicy()
    size = policy.fleet_size(limit, lost)
    assert 1 <= size <= limit
    assert policy.fleet_size(limit, lost + 1) <= max(1, size // policy.split)


@pytest.mark.parametrize(("limit", "sizes"), [(500, [500, 62, 7, 1]), (1, [1, 1]), (8, [8, 1])])
def test_sizes(limit: int, sizes: list[int]) -> None:
    assert [RetryPolicy().fleet_size(limit, lost) for lost in range(len(sizes))] == sizes
