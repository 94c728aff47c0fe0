"""How long a cluster with tasks may be idle before a run does something about it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.training.cluster.ray_idle import IdleWatch


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_cluster_may_be_idle_for_as_long_as_the_patience():
    clock = Clock()
    watch = IdleWatch(10, clock)
    clock.now += 10
    assert not watch.is_over(idle=True)
    clock.now += 0.1
    assert watch.is_over(idle=True)


def test_it_is_told_once_per_patience():
    clock = Clock()
    watch = IdleWatch(10, clock)
    clock.now += 11
    assert watch.is_over(idle=True)
    clock.now += 9
    assert not watch.is_over(idle=True)
    clock.now += 2
    assert watch.is_over(idle=True)


def test_tasks_that_were_just_sent_get_the_whole_patience():
    clock = Clock()
    watch = IdleWatch(10, clock)
    clock.now += 1000  # tables are sent
    watch.restart()
    assert not watch.is_over(idle=True)


@given(st.lists(st.tuples(st.floats(0, 9), st.booleans())))
def test_a_cluster_that_works_again_and_again_is_never_too_idle(polls: list[tuple[float, bool]]):
    clock = Clock()
    watch = IdleWatch(20, clock)
    for seconds, idle in polls:
        clock.now += seconds
        assert not watch.is_over(idle)
        clock.now += 5
        assert not watch.is_over(idle=False)  # a training of any length
