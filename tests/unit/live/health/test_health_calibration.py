"""What is measured on the references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.live.health.calibration import LEAST_SPREAD, LENGTHS, Calibration, calibrate, read_calibration
from mlops_cli.live.health.null_peaks import LEAST_SCALE
from mlops_cli.live.health.signal import MIN_FLEET, WARM_UP
from tests.fakes.simulated_fleets import REFERENCE, Fleet, simulated_fleet

REPLICATES = 1000
FLEET = simulated_fleet(30, 0, seed=1)


def calibrated(frame: pd.DataFrame, versions: dict[str, str]) -> Calibration:
    return calibrate(frame, versions, replicates=REPLICATES)


def some(models: int) -> Fleet:
    return Fleet(FLEET.returns[:, :models], FLEET.forecasts[:, :models])


FULL = calibrated(FLEET.reference(), FLEET.versions)


def test_every_model_with_a_full_reference_can_be_judged() -> None:
    assert list(FULL.models) == FLEET.names
    assert FULL.not_judged == {}
    assert list(FULL.nulls) == [LENGTHS[-1]]
    assert {usual.sessions for usual in FULL.models.values()} == {500}


def test_figures_of_a_model_are_those_of_its_signal() -> None:
    """A fleet of one has no common part, so its figures can be reckoned from the definition."""
    usual = calibrated(some(1).reference(), {"m0000": "1"}).models["m0000"]
    returns, forecasts = np.expm1(FLEET.returns[:, 0]), np.expm1(FLEET.forecasts[:, 0])
    naive = np.abs(returns)
    mean, before = naive[:WARM_UP].mean(), []
    for error in naive[WARM_UP:]:
        before.append(mean)
        mean = 0.94 * mean + 0.06 * error
    scale = np.maximum(before, np.mean(before))
    signal = (np.abs(forecasts - returns) - naive)[WARM_UP:] / scale
    assert usual.naive_error == pytest.approx(np.mean(before))
    assert usual.last_naive_error == pytest.approx(mean)
    assert usual.loss == pytest.approx(signal.mean())
    assert usual.spread == pytest.approx(signal.std(ddof=1))
    assert usual.own_mean == pytest.approx(0.0, abs=1e-9)
    assert usual.own_spread == pytest.approx(1.0)


def test_the_order_of_rows_and_other_models_do_not_matter() -> None:
    frame = FLEET.reference()
    shuffled = pd.concat([frame, frame.assign(model="other")]).sample(frac=1.0, random_state=3)
    assert calibrated(shuffled, FLEET.versions) == FULL


def test_it_comes_back_from_json_to_the_bit() -> None:
    assert read_calibration(FULL.model_dump_json()) == FULL


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"models": {}, "not_judged": {}, "nulls": {}, "fleet": 3}'])
def test_a_broken_file_is_an_error_with_a_hint(text: str) -> None:
    with pytest.raises(DataError, match="calibration of health is broken"):
        read_calibration(text)


@pytest.mark.parametrize(("sessions", "used"), [(80, 60), (139, 60), (140, 120), (269, 120), (270, 250), (519, 250)])
def test_short_references_count_with_a_rounded_length(sessions: int, used: int) -> None:
    calibration = calibrated(some(2).frame(REFERENCE - sessions, REFERENCE), {"m0000": "1", "m0001": "1"})
    assert {usual.sessions for usual in calibration.models.values()} == {used}
    assert list(calibration.nulls) == [used]


def test_a_reference_that_is_too_short_is_told() -> None:
    frame = pd.concat([some(2).frame(0, 79), some(1).frame(79, 80)])
    calibration = calibrated(frame, {"m0000": "1", "m0001": "1", "new": "4"})
    assert list(calibration.models) == ["m0000"]
    reasons = {name: (model.version, model.reason) for name, model in calibration.not_judged.items()}
    assert reasons == {
        "m0001": ("1", "its reference has 79 settled forecasts; at least 80 are needed"),
        "new": ("4", "its reference has 0 settled forecasts; at least 80 are needed"),
    }


def test_a_price_that_never_moves_is_told() -> None:
    still = Fleet(np.zeros((100, 1)), np.full((100, 1), 0.01))
    calibration = calibrated(still.frame(0, 100), {"m0000": "1"})
    assert calibration.not_judged["m0000"].reason == "its close never moved in the reference"


def test_nothing_can_be_calibrated_on_nothing() -> None:
    empty = calibrated(FLEET.reference()[:0], {"a": "1"})
    assert (empty.models, empty.nulls, empty.fleet) == ({}, {}, None)
    assert list(empty.not_judged) == ["a"]
    assert calibrated(FLEET.reference(), {}) == Calibration(models={}, not_judged={}, nulls={}, fleet=None)


def test_a_model_that_equals_the_naive_forecast_has_the_least_spread() -> None:
    forecasts = FLEET.forecasts.copy()
    forecasts[:, 0] = 0.0
    usual = calibrated(Fleet(FLEET.returns, forecasts).reference(), FLEET.versions).models["m0000"]
    assert (usual.loss, usual.spread) == (0.0, LEAST_SPREAD)
    assert usual.own_spread >= LEAST_SCALE


def test_the_fleet_needs_models_and_common_sessions() -> None:
    enough = some(MIN_FLEET)
    assert calibrated(enough.reference(), enough.versions).fleet is not None
    few = some(MIN_FLEET - 1)
    assert calibrated(few.reference(), few.versions).fleet is None
    # the last model has only 50 of its sessions together with the others
    late = pd.concat([enough.frame(0, 340), enough.frame(340, REFERENCE).query("model == 'm0000'")])
    lonely = late[(late["model"] != "m0000") | (late["target_session"] >= late["target_session"].unique()[290])]
    assert calibrated(lonely, enough.versions).fleet is None


def test_the_size_of_the_fleet_is_that_of_its_signals() -> None:
    """Of standard normal signals the median distance from the median is 0.67; fat tails and mixtures make it less."""
    fleet = FULL.fleet
    assert fleet is not None
    assert 0.4 < fleet.size < 0.75
    assert fleet.last_size == pytest.approx(fleet.size, rel=0.6)
    assert np.exp(fleet.sizes.mean) == pytest.approx(fleet.size, rel=0.2)
    assert abs(fleet.errors.mean) < 0.1


def test_another_seed_moves_the_null_a_little_and_nothing_else() -> None:
    other = calibrate(FLEET.reference(), FLEET.versions, seed=1, replicates=REPLICATES)
    assert other.models == FULL.models
    assert other.nulls != FULL.nulls
    assert other.nulls[500].quantiles[-1] == pytest.approx(FULL.nulls[500].quantiles[-1], rel=0.3)


def test_only_the_newest_sessions_of_a_reference_count() -> None:
    """Of 139 sessions, the last 60 count; older forecasts do not matter, however bad."""
    frame = some(2).frame(REFERENCE - 139, REFERENCE)
    old = frame["target_session"].isin(frame["target_session"].unique()[:79])
    worse = frame.assign(predicted_close=frame["predicted_close"].mask(old, 250.0))
    versions = {"m0000": "1", "m0001": "1"}
    assert calibrated(worse, versions) == calibrated(frame, versions)


def test_the_fleet_is_never_calmer_than_white_noise() -> None:
    """The sums of 500 sessions that never vary would be 0; those of white noise exceed 6 in a hundredth of years."""
    still = Fleet(FLEET.returns, np.zeros_like(FLEET.forecasts))
    fleet = calibrated(still.reference(), still.versions).fleet
    assert fleet is not None
    assert min(fleet.errors.null.quantiles[-1], fleet.sizes.null.quantiles[-1]) > 6.0
