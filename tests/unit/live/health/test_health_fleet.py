"""A common shock is the state of the fleet, and raises no alarm of a model."""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
import pytest

from mlops_cli.live.health.calibration import Calibration, UsualFleet, UsualSeries, calibrate
from mlops_cli.live.health.fleet import FleetWatch, Tally
from mlops_cli.live.health.null_peaks import NullPeaks
from mlops_cli.live.health.signal import UNKNOWN, Common
from mlops_cli.live.health.state import FleetHealth, Health, State
from mlops_cli.live.health.update import update
from tests.fakes.simulated_fleets import Fleet, simulated_fleet

SESSIONS = 60
FLEET = simulated_fleet(60, SESSIONS, seed=4)

NULL = NullPeaks(quantiles=tuple(np.linspace(0.0, 12.0, 65).tolist()), excess=2.0)
SERIES = UsualSeries(mean=0.0, spread=0.2, null=NULL)
USUAL = UsualFleet(errors=SERIES, sizes=SERIES, size=1.0, last_size=1.0)
CALM, BAD, LARGE, SMALL = (
    Common(0.0, 0.0, 1.0),
    Common(1.0, 1.0, 1.0),
    Common(0.0, 0.0, 5.0),
    Common(0.0, 0.0, 0.2),
)
HUNDRED = Tally(judged=100, broken=0, new=0)


@cache
def calibration() -> Calibration:
    return calibrate(FLEET.reference(), FLEET.versions, replicates=4000)


def alarms(health: Health) -> int:
    return sum(model.state is State.BROKEN for model in health.models.values())


def days(number: int) -> list[date]:
    return [date.fromordinal(738_000 + place) for place in range(number)]


def watched(parts: list[Common], tally: Tally = HUNDRED, start: FleetHealth | None = None) -> FleetWatch:
    watch = FleetWatch(start or FleetHealth(), USUAL, retrained=0)
    for day, part in zip(days(len(parts)), parts, strict=True):
        watch.growth(part)
        watch.add(part)
        watch.judge(day, tally)
    return watch


def test_when_all_models_break_at_once_the_fleet_is_broken_and_no_model() -> None:
    health = update(Health(), FLEET.broken(60, 0.3, seed=4, start=10).live(SESSIONS), calibration())
    assert (health.fleet.state, health.fleet.shock) == (State.BROKEN, True)
    assert alarms(health) == 0
    assert "errors are much further from the naive errors, all together" in health.fleet.reason
    told = {(model.state, model.reason) for model in health.models.values()}
    assert told == {(State.NOT_JUDGED, "most models got worse at once: see the state of the fleet")}


def test_a_crisis_of_the_market_breaks_no_model() -> None:
    health = update(Health(), FLEET.crisis(10, 20, 4.0).live(SESSIONS), calibration())
    assert alarms(health) == 0


def test_a_fleet_that_mostly_equals_the_naive_forecast_is_healthy() -> None:
    """Their signals are all 0: no common part, no size, and no evidence."""
    forecasts = FLEET.forecasts.copy()
    forecasts[:, :40] = 0.0
    fleet = Fleet(FLEET.returns, forecasts)
    usual = calibrate(fleet.reference(), fleet.versions, replicates=2000)
    health = update(Health(), fleet.live(SESSIONS), usual)
    assert (health.fleet.state, alarms(health)) == (State.HEALTHY, 0)
    found = update(Health(), fleet.broken(2, 0.3, seed=4).live(SESSIONS), usual)
    assert [name for name, model in found.models.items() if model.state is State.BROKEN] == FLEET.names[:2]


def test_a_broken_model_stays_broken_through_a_shock() -> None:
    early = update(Health(), FLEET.broken(2, 0.8, seed=4).live(25), calibration())
    assert [name for name, model in early.models.items() if model.state is State.BROKEN] == FLEET.names[:2]
    late = update(early, FLEET.broken(60, 0.8, seed=4).live(SESSIONS), calibration())
    assert late.fleet.shock
    assert [name for name, model in late.models.items() if model.state is State.BROKEN] == FLEET.names[:2]
    assert late.models["m0000"].since == early.models["m0000"].since


def test_retraining_most_models_ends_a_shock() -> None:
    shocked = update(Health(), FLEET.broken(60, 0.3, seed=4).live(20), calibration())
    assert shocked.fleet.shock
    rows = FLEET.frame(540, 541, version="2")
    for number, shock in ((30, True), (31, False)):
        names = FLEET.names[:number]
        usual = {
            name: entry.model_copy(update={"version": "2"} if name in names else {})
            for name, entry in calibration().models.items()
        }
        mixed = rows.assign(version=rows["model"].isin(names).map({True: "2", False: "1"}))
        health = update(shocked, mixed, calibration().model_copy(update={"models": usual}))
        assert health.fleet.shock is shock
        assert health.fleet.retrained == (30 if shock else 0)


def test_a_worse_mean_breaks_the_fleet_and_the_reason_says_so() -> None:
    watch = watched([CALM] * 3 + [BAD] * 6)
    assert (watch.state, watch.shock) == (State.BROKEN, True)
    assert watch.reason.startswith("the models' errors beside the naive errors got worse, all together; 1 in ")


def test_larger_signals_break_the_fleet_and_smaller_ones_do_not() -> None:
    assert watched([LARGE] * 6).state is State.BROKEN
    assert watched([SMALL] * 200).state is State.HEALTHY


def test_watch_comes_first() -> None:
    states = [watched([BAD] * number).state for number in range(1, 7)]
    assert states[0] is State.HEALTHY
    assert states == sorted(states, key=[State.HEALTHY, State.WATCH, State.BROKEN].index)
    assert State.WATCH in states


def test_a_shock_ends_when_its_evidence_is_used_up() -> None:
    shocked = watched([BAD] * 6).health()
    during = watched([CALM], start=shocked)
    assert (during.shock, during.since) == (True, shocked.since)
    after = watched([CALM] * 60, start=shocked)
    assert (after.shock, after.state, after.retrained) == (False, State.HEALTHY, 0)
    assert after.since is not None
    assert days(60)[8] <= after.since <= days(60)[12]
    assert after.health().errors.peak == 0.0


def test_alarms_of_most_models_in_one_session_are_a_shock() -> None:
    watch = watched([CALM], Tally(judged=100, broken=0, new=51))
    assert (watch.shock, watch.reason) == (True, "51 of 100 models got worse at once")
    lasting = watched([CALM] * 8, start=watch.health())
    assert lasting.shock, "it lasts as long as its evidence"
    assert not watched([CALM], Tally(judged=100, broken=0, new=50)).shock


def test_when_most_models_break_one_by_one_the_fleet_is_broken_without_a_shock() -> None:
    watch = watched([CALM], Tally(judged=100, broken=50, new=1))
    assert (watch.state, watch.shock, watch.reason) == (State.BROKEN, False, "51 of 100 models are broken")


def test_without_enough_models_there_is_no_shock() -> None:
    watch = FleetWatch(FleetHealth(), None, retrained=0)
    assert watch.growth(LARGE) == 1.0
    watch.add(BAD)
    watch.judge(days(1)[0], Tally(judged=3, broken=0, new=3))
    assert (watch.state, watch.shock) == (State.BROKEN, False)
    watch.judge(days(2)[1], Tally(judged=3, broken=1, new=0))
    assert watch.state is State.NOT_JUDGED


def test_a_session_of_few_models_says_nothing_about_the_fleet() -> None:
    watch = watched([CALM, UNKNOWN, UNKNOWN])
    assert watch.sessions == 1
    assert watch.growth(UNKNOWN) == 1.0


def test_growth_is_the_weighted_size() -> None:
    watch = FleetWatch(FleetHealth(), USUAL, retrained=0)
    assert watch.growth(LARGE) == pytest.approx(1.4)
    assert watch.growth(LARGE) == pytest.approx(1.76)
    assert watch.health().size == pytest.approx(1.76)


def test_a_state_goes_on_from_where_it_was_stored() -> None:
    parts = [CALM, BAD, CALM, LARGE, BAD, BAD, CALM, SMALL]
    at_once = watched(parts).health()
    watch = FleetWatch(FleetHealth(), USUAL, retrained=0)
    for day, part in zip(days(len(parts)), parts, strict=True):
        stored = FleetHealth.model_validate_json(watch.health().model_dump_json())
        watch = FleetWatch(stored, USUAL, retrained=0)
        watch.growth(part)
        watch.add(part)
        watch.judge(day, HUNDRED)
    assert watch.health() == at_once


def test_the_level_is_for_both_sums_together() -> None:
    """Bonferroni: each of the two sums has half of the level."""
    watch = watched([CALM])
    height = 12.0  # one sum reaches it with probability 0.01
    assert watch.sums[0].probability(height) == pytest.approx(0.02)
    assert watch.sums[0].probability(0.0) == 1.0
