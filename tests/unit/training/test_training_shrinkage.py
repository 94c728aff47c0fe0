"""Shrinkage: hand-computed optima, ties, pooling, and that it never loses to naive on its own validation rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlops_cli.features.column_names import WIDEST
from mlops_cli.training.shrinkage import (
    GRID,
    MOST_WIDER,
    MeanReturns,
    ValidationForecasts,
    choose_cautiously,
    choose_shrinkage,
    pooled_drifts,
)

LAST = np.array([100.0, 50.0, 20.0, 10.0])
MOVES = np.array([0.02, -0.01, 0.03, -0.02])


def days(number: int) -> np.ndarray:
    return np.datetime64("2024-01-01") + np.arange(number)


def forecasts(log_return: np.ndarray, actual: np.ndarray, last: np.ndarray = LAST) -> ValidationForecasts:
    return ValidationForecasts(last, actual, log_return, days(len(last)))


def moved(share: float) -> ValidationForecasts:
    """Forecasts of which exactly `share` came true."""
    return forecasts(MOVES, LAST * np.exp(share * MOVES))


def mean_ratio(group: list[ValidationForecasts], shrinkage: float) -> float:
    """The rule in its own words, from the definition."""
    ratios = []
    for model in group:
        errors = [
            abs(actual - last * np.exp(shrinkage * r))
            for actual, last, r in zip(model.actual_close, model.last_close, model.log_return, strict=True)
        ]
        naive = [abs(actual - last) for actual, last in zip(model.actual_close, model.last_close, strict=True)]
        ratios.append(sum(errors) / sum(naive))
    return sum(ratios) / len(ratios)


def test_the_grid_goes_from_nothing_to_all_in_steps_of_a_twentieth():
    assert GRID.tolist() == [round(0.05 * step, 2) for step in range(21)]


def test_the_ratio_by_hand():
    # forecasts 110 and 100, actual 105 and 99, last 100 both: errors 5 and 1, naive errors 5 and 1
    model = forecasts(np.log([1.1, 1.0]), np.array([105.0, 99.0]), np.array([100.0, 100.0]))
    assert model.mae_ratio(1.0) == pytest.approx(6 / 6)
    assert model.mae_ratio(0.0) == 1.0
    # lambda 0.5 forecasts 100 * sqrt(1.1) = 104.8809 and 100: errors 0.1191 and 1
    assert model.mae_ratio(0.5) == pytest.approx((105 - 100 * np.sqrt(1.1) + 1) / 6)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.35, 0.5, 0.95, 1.0])
def test_the_share_that_came_true_is_found(share: float):
    assert choose_shrinkage([moved(share)]) == share
    assert moved(share).mae_ratio(share) == pytest.approx(0 if share else 1)


def test_more_than_the_whole_forecast_is_never_chosen():
    assert choose_shrinkage([moved(3.0)]) == 1.0


def test_forecasts_of_the_wrong_sign_are_shrunk_to_nothing():
    assert choose_shrinkage([moved(-1.0)]) == 0.0


def test_noise_is_shrunk_to_nothing():
    random = np.random.default_rng(3)
    last = np.full(2000, 100.0)
    noise = forecasts(0.02 * random.standard_normal(2000), last * np.exp(0.01 * random.standard_normal(2000)), last)
    assert choose_shrinkage([noise]) == 0.0


def test_ties_go_to_the_smaller():
    assert choose_shrinkage([forecasts(np.zeros(4), LAST * np.exp(MOVES))]) == 0.0


def test_a_price_that_never_moved_has_no_say():
    still = forecasts(MOVES, LAST)
    assert [still.mae_ratio(value) for value in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
    assert choose_shrinkage([still]) == 0.0
    assert choose_shrinkage([still, moved(0.6)]) == 0.6


def test_a_group_is_judged_by_the_mean_of_its_ratios():
    # moved(1) loses 1 - lambda; moved(0.2) loses about |0.2 - lambda| / 0.2, five times as steep: it wins
    group = [moved(1.0), moved(0.2)]
    assert choose_shrinkage(group) == 0.2
    assert choose_shrinkage([*group, *[moved(1.0)] * 9]) == 1.0
    for model_group in (group, [moved(0.3), moved(0.9), moved(-1.0)]):
        best = min(GRID, key=lambda value: mean_ratio(model_group, value))
        assert choose_shrinkage(model_group) == pytest.approx(best)


def test_a_dear_stock_has_no_more_say_than_a_cheap_one():
    dear = forecasts(MOVES, 1e6 * LAST * np.exp(-MOVES), 1e6 * LAST)
    cheap = [moved(1.0)] * 3
    assert choose_shrinkage([dear, *cheap]) == 1.0


def test_an_empty_group_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="at least one model"):
        choose_shrinkage([])


@st.composite
def groups(draw: st.DrawFn) -> list[ValidationForecasts]:
    group = []
    for _ in range(draw(st.integers(1, 4))):
        rows = draw(st.integers(1, 20))
        last = draw(arrays(np.float64, rows, elements=st.floats(0.01, 1e5)))
        move = draw(arrays(np.float64, rows, elements=st.floats(-1, 1)))
        said = draw(arrays(np.float64, rows, elements=st.floats(-3, 3)))
        group.append(ValidationForecasts(last, last * np.exp(move), said, days(len(last))))
    return group


@given(groups())
@settings(max_examples=200)
def test_the_choice_never_loses_to_naive_on_its_own_rows(group: list[ValidationForecasts]):
    chosen = choose_shrinkage(group)
    assert 0.0 <= chosen <= 1.0
    ratios = {value: float(np.mean([model.mae_ratio(value) for model in group])) for value in GRID}
    assert ratios[chosen] == min(ratios.values()) <= 1.0
    assert all(ratios[value] > ratios[chosen] for value in GRID if value < chosen)


@given(groups(), st.randoms())
@settings(max_examples=50)
def test_the_order_of_a_group_does_not_change_what_is_gained(group: list[ValidationForecasts], random):
    shuffled = list(group)
    random.shuffle(shuffled)
    gained = [np.mean([model.mae_ratio(choose_shrinkage(some)) for model in group]) for some in (group, shuffled)]
    assert gained[0] == pytest.approx(gained[1])


def noisy(seed: int, rows: int, part: float, noise: float) -> ValidationForecasts:
    """Forecasts of which `part` comes true on average, beside noise of the size `noise`; the moves are of 1 %."""
    random = np.random.default_rng(seed)
    said = random.normal(0.0, 0.01, rows)
    last = np.full(rows, 100.0)
    return ValidationForecasts(
        last,
        last * np.exp(part * said + random.normal(0.0, noise, rows)),
        said,
        days(rows),
        means=MeanReturns(0.0, 0.0),
    )


class TestCautiousChoice:
    def test_noise_is_not_worth_leaving_the_base(self):
        chosen = [choose_cautiously([noisy(seed, 126, 0.0, 0.01)], [0.0]) for seed in range(200)]
        plain = [choose_shrinkage([noisy(seed, 126, 0.0, 0.01)], [0.0]) for seed in range(200)]
        assert np.mean([value > 0 for value in chosen]) < 0.2 < np.mean([value > 0 for value in plain])

    def test_a_network_that_knows_something_is_used(self):
        assert choose_cautiously([noisy(1, 126, 1.0, 0.002)], [0.0]) > 0.7

    def test_days_count_once_however_many_stocks_move_together(self):
        one = noisy(3, 60, 0.0, 0.01)
        assert choose_cautiously([one] * 50, [0.0] * 50) == choose_cautiously([one], [0.0])

    def test_never_more_than_the_best_one(self):
        for seed in range(50):
            group = [noisy(seed, 40, 0.3, 0.01), noisy(seed + 1000, 40, 0.3, 0.01)]
            assert choose_cautiously(group, [0.0, 0.0]) <= choose_shrinkage(group, [0.0, 0.0])

    def test_one_day_or_a_stock_that_never_moved_gives_no_standard_error(self):
        still = ValidationForecasts(LAST, LAST, MOVES, days(4))
        assert choose_cautiously([still], [0.0]) == choose_shrinkage([still], [0.0]) == 0.0
        one = ValidationForecasts(LAST[:1], LAST[:1] * np.exp(MOVES[:1]), MOVES[:1], days(1))
        assert choose_cautiously([one], [0.0]) == choose_shrinkage([one], [0.0]) == 1.0


def test_the_forecast_is_shrunk_to_the_drift_and_loses_the_dividend():
    model = ValidationForecasts(LAST, LAST, MOVES, days(4), dividend=np.array([1.0, 0.0, 0.5, 0.0]))
    by_hand = LAST * np.exp(0.001 + 0.4 * (MOVES - 0.001)) - [1.0, 0.0, 0.5, 0.0]
    assert model.absolute_errors(0.4, 0.001) == pytest.approx(np.abs(by_hand - LAST), abs=1e-12)


def test_a_drift_is_half_own_and_half_that_of_the_stocks_with_a_base():
    assert pooled_drifts([0.001, None, 0.003]) == [0.0015, 0.0, 0.0025]
    assert pooled_drifts([None, None]) == [0.0, 0.0]


class TestBase:
    """Drift and dividend: what a model is shrunk to."""

    def test_the_ratio_by_hand(self):
        # total returns forecast: log 1.10 and log 1.02; with lambda 0.5 and mu log 1.02 they become 1.0592 and 1.02
        model = ValidationForecasts(
            np.array([100.0, 100.0]), np.array([104.0, 101.0]), np.log([1.1, 1.02]), days(2), np.array([0.0, 2.0])
        )
        mu = float(np.log(1.02))
        shrunk = 100 * np.sqrt(1.1 * 1.02)
        assert model.mae_ratio(0.5, mu) == pytest.approx((abs(104 - shrunk) + abs(101 - (102 - 2))) / (4 + 1))
        assert model.mae_ratio(0.0, mu) == pytest.approx((2 + 1) / 5), "the base: 102, and 102 less the dividend"
        assert model.mae_ratio(1.0, mu) == model.mae_ratio(1.0), "unshrunk, the drift is not in it"

    def test_a_network_that_says_nothing_new_is_shrunk_to_its_drift(self):
        drift = 0.002
        actual = LAST * np.exp(drift)
        assert choose_shrinkage([forecasts(MOVES, actual)], [drift]) == 0.0
        assert forecasts(MOVES, actual).mae_ratio(0.0, drift) == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("share", [0.05, 0.35, 1.0])
    def test_the_share_that_came_true_beyond_the_drift_is_found(self, share: float):
        drift = -0.003
        assert choose_shrinkage([forecasts(MOVES, LAST * np.exp(drift + share * (MOVES - drift)))], [drift]) == share

    def test_every_model_is_judged_with_its_own_drift(self):
        drifts = [0.02, -0.01]
        group = [forecasts(MOVES, LAST * np.exp(drift + 0.35 * (MOVES - drift))) for drift in drifts]
        assert choose_shrinkage(group, drifts) == 0.35
        assert choose_shrinkage(group, drifts[::-1]) != 0.35


class TestDrifts:
    def test_half_own_and_half_of_the_group(self):
        assert pooled_drifts([0.001, 0.003]) == pytest.approx([0.0015, 0.0025])

    def test_a_stock_alone_has_its_own(self):
        assert pooled_drifts([0.001]) == pytest.approx([0.001])

    def test_models_without_a_drift_have_no_say_and_get_none(self):
        assert pooled_drifts([None, 0.001, None, 0.003]) == pytest.approx([0.0, 0.0015, 0.0, 0.0025])
        assert pooled_drifts([None]) == [0.0]
        assert pooled_drifts([]) == []

    @given(st.lists(st.floats(-0.01, 0.01), min_size=1, max_size=9))
    def test_pooling_keeps_the_mean(self, means: list[float]):
        assert np.mean(pooled_drifts(means)) == pytest.approx(np.mean(means), abs=1e-12)


class TestWidthFactor:
    def test_the_naive_forecast_has_the_widths_as_planned(self):
        assert moved(0.5).width_factor(0.0) == 1.0
        assert forecasts(0 * MOVES, LAST * np.exp(MOVES)).width_factor(1.0) == 1.0

    def test_a_forecast_that_is_better_gets_no_narrower_ones(self):
        assert moved(1.0).width_factor(1.0) == 1.0

    def test_larger_errors_widen_them_in_proportion(self):
        # forecast 104, close 101: the error is 3, that of no change 1
        model = ValidationForecasts(np.array([100.0]), np.array([101.0]), np.log([1.04]), days(1))
        assert model.width_factor(1.0) == pytest.approx(3.0)
        assert 1.0 < model.width_factor(0.6) < 3.0

    def test_the_announced_dividend_is_no_error(self):
        model = ValidationForecasts(np.array([100.0]), np.array([99.0]), np.log([1.02]), days(1), np.array([2.0]))
        # planned: 98, an error of 1; forecast: 102 - 2 = 100, an error of 1
        assert model.width_factor(1.0) == pytest.approx(1.0)

    def test_a_price_that_never_moved_is_measured_by_the_least_width(self):
        still = forecasts(np.full(4, 0.0005), LAST)
        assert still.width_factor(1.0) == pytest.approx(5.0, rel=1e-3)
        assert still.width_factor(0.0) == 1.0

    def test_an_unknown_interval_stays_a_number_in_float32(self):
        useless = forecasts(np.full(4, 0.5), LAST)
        assert useless.width_factor(1.0) == MOST_WIDER
        assert np.isfinite(np.log(np.float32(np.exp(np.float32(-MOST_WIDER * WIDEST)))))
