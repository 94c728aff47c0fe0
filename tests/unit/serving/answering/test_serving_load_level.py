"""The load level: the same for the same delays, whatever they are made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.serving import Serving
from mlops_cli.serving.answering.degradation import LoadLevel

delays = st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), max_size=60)


def level_after(samples: list[tuple[float, float]], **settings: object) -> LoadLevel:
    load = LoadLevel(Serving.model_validate(settings))
    for queue_ms, lag_ms in samples:
        load.observe(queue_ms, lag_ms)
    return load


@given(delays)
def test_the_level_is_one_of_four_and_delays_are_within_what_was_seen(samples: list[tuple[float, float]]) -> None:
    load = level_after(samples)
    assert load.level in (0, 1, 2, 3)
    assert 0 <= load.queue_ms <= max((queue for queue, _ in samples), default=0)
    assert 0 <= load.lag_ms <= max((lag for _, lag in samples), default=0)


@given(delays)
def test_the_load_is_gone_soon_after_the_delays(samples: list[tuple[float, float]]) -> None:
    assert level_after([*samples, *[(0.0, 0.0)] * 30]).level == 0


@pytest.mark.parametrize(("queue_ms", "lag_ms"), [(30, 0), (0, 30), (15, 15)])
def test_waiting_and_lateness_add_up(queue_ms: float, lag_ms: float) -> None:
    assert level_after([(queue_ms, lag_ms)] * 30).level == 1


def test_a_step_that_is_switched_off_leaves_the_others() -> None:
    assert level_after([(60, 0)] * 30, smaller_model={"enabled": False}).level == 2
    assert level_after([(200, 0)] * 30, delayed_answer={"enabled": False}).level == 2
    off = {name: {"enabled": False} for name in ("smaller_model", "cached_answer", "delayed_answer")}
    assert level_after([(10_000, 0)] * 30, **off).level == 0


def test_between_leaving_and_entering_the_level_stays() -> None:
    assert level_after([(15, 0)] * 30).level == 0
    assert level_after([(25, 0)] * 30 + [(15, 0)] * 30).level == 1
