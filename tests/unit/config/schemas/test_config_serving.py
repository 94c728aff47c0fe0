"""Rules between the keys of `serving:`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlops_cli.config.schemas.serving import Ensemble, Promotion, Serving, SmallerModel

STEPS = ("smaller_model", "cached_answer", "delayed_answer")


def serving(delays: tuple[float, ...], enabled: tuple[bool, ...] = (True, True, True)) -> Serving:
    steps = {
        name: {"enter_ms": delay, "leave_ms": 0, "enabled": on}
        for name, delay, on in zip(STEPS, delays, enabled, strict=True)
    }
    return Serving.model_validate(steps)


def test_the_defaults_are_valid():
    assert Serving().smaller_model.enter_ms < Serving().cached_answer.enter_ms < Serving().delayed_answer.enter_ms


@pytest.mark.parametrize("delays", [(2, 1, 3), (1, 3, 2), (3, 2, 1), (2, 2, 1)])
def test_a_later_step_does_not_begin_before_an_earlier_one(delays):
    with pytest.raises(ValidationError, match="enter_ms must rise"):
        serving(delays)


def test_equal_delays_are_in_order():
    assert serving((5, 5, 5))


@given(st.tuples(*[st.floats(1, 1e3)] * 3), st.tuples(*[st.booleans()] * 3))
def test_only_steps_that_are_used_must_be_in_order(delays, enabled):
    used = [delay for delay, on in zip(delays, enabled, strict=True) if on]
    if used == sorted(used):
        assert serving(delays, enabled)
    else:
        with pytest.raises(ValidationError, match="enter_ms must rise"):
            serving(delays, enabled)


@pytest.mark.parametrize(("enter", "leave"), [(10, 10), (10, 11)])
def test_a_step_ends_below_where_it_begins(enter, leave):
    with pytest.raises(ValidationError, match="must be below enter_ms"):
        SmallerModel(enter_ms=enter, leave_ms=leave)


@pytest.mark.parametrize("weights", ["equal", "inverse_mae", {"red-aapl": 1.0, "blue-aapl": 0}])
def test_weights_of_an_ensemble(weights):
    assert Ensemble(models=("red-aapl", "blue-aapl"), weights=weights).weights == weights


@pytest.mark.parametrize("keys", [{"models": ["red-aapl"]}, {"models": []}, {"models": ["a", "B"]}])
def test_an_ensemble_has_two_models_or_more(keys):
    with pytest.raises(ValidationError):
        Ensemble.model_validate(keys)


@pytest.mark.parametrize("weight", [-0.1, "half"])
def test_weights_are_not_negative(weight):
    with pytest.raises(ValidationError):
        Ensemble.model_validate({"models": ["a", "b"], "weights": {"a": weight}})


@pytest.mark.parametrize("keys", [{"sessions": 19}, {"level": 0}, {"level": 1}])
def test_promotion_needs_evidence(keys):
    with pytest.raises(ValidationError):
        Promotion.model_validate(keys)
