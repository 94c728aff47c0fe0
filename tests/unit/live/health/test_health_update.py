"""States session by session: against an oracle, from JSON, and through the life of models."""

from __future__ import annotations

import json
import re
from datetime import date
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.live.health.calibration import Calibration, calibrate
from mlops_cli.live.health.state import Health, State, read_health
from mlops_cli.live.health.update import ALARM, MOST_MISSED, WATCH, update
from tests.fakes.health_oracle import OracleFleet, OracleModel, benjamini_hochberg
from tests.fakes.simulated_fleets import REFERENCE, Fleet, simulated_fleet

SESSIONS, SOME = 60, 25
FLEET = simulated_fleet(40, SESSIONS, seed=2)
WITH_BROKEN = FLEET.broken(3, 0.6, seed=2, start=5)
LIVE = WITH_BROKEN.live(SESSIONS)
DAYS = [day.date() for day in pd.DatetimeIndex(LIVE["target_session"].unique())]


@cache
def calibration() -> Calibration:
    return calibrate(FLEET.reference(), FLEET.versions, replicates=4000)


@cache
def judged() -> Health:
    return update(Health(), LIVE, calibration())


def with_version(version: str, models: list[str]) -> Calibration:
    usual = {
        name: entry.model_copy(update={"version": version} if name in models else {})
        for name, entry in calibration().models.items()
    }
    return calibration().model_copy(update={"models": usual})


def states(health: Health, state: State) -> list[str]:
    return [name for name, model in health.models.items() if model.state is state]


def test_broken_models_are_found_and_no_other() -> None:
    assert states(judged(), State.BROKEN) == FLEET.names[:3]
    assert judged().session == DAYS[-1]
    assert judged().fleet.state is State.HEALTHY


def test_a_reason_says_what_changed_and_how_sure_it_is() -> None:
    model = judged().models["m0000"]
    assert model.since is not None
    assert DAYS[5] <= model.since <= DAYS[25]
    pattern = (
        r"its error less the naive error was [+-]\d+\.\d% of the naive error in the (session|\d+ sessions) from "
        r"(\S+), [+-]\d+\.\d% in the reference, and varied (\S+) times as much; "
        r"(1 in [\d,]+ gets|less than 1 in 1,000,000 get) this far within a year without a change"
    )
    match = re.fullmatch(pattern, model.reason)
    assert match, model.reason
    assert date.fromisoformat(match[2]) <= model.since
    assert float(match[3]) > 1.5


def test_sums_equal_those_of_the_oracle() -> None:
    """A plain loop over sessions and models, with scipy's likelihoods; it stands in for an outside library."""
    usual_fleet = calibration().fleet
    assert usual_fleet is not None
    models = {
        name: OracleModel(
            usual.naive_error, usual.loss, usual.spread, usual.own_mean, usual.own_spread, usual.last_naive_error
        )
        for name, usual in calibration().models.items()
    }
    oracle = OracleFleet(models, usual_fleet.size, usual_fleet.last_size)
    for _, rows in LIVE.groupby("target_session"):
        prices = rows[["last_close", "predicted_close", "actual_close"]].itertuples(index=False, name=None)
        oracle.session(dict(zip(rows["model"], prices, strict=True)))
    for name, model in judged().models.items():
        expected = models[name]
        assert model.cusum == pytest.approx(expected.cusum, abs=1e-9)
        assert model.peak == pytest.approx(expected.peak, abs=1e-9)
        assert (model.run.sessions, model.run.total) == (expected.run, pytest.approx(expected.total, abs=1e-9))
        assert model.naive_error == pytest.approx(expected.mean_naive)
    peaks = np.array([models[name].peak for name in sorted(models)])
    rejected = benjamini_hochberg(calibration().nulls[500].probability(peaks).tolist(), ALARM)
    assert [name for name, alarm in zip(sorted(models), rejected, strict=True) if alarm] == FLEET.names[:3]


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_session_by_session_through_json_equals_all_at_once(data: st.DataObject) -> None:
    """Cut anywhere, rows in any order, forecasts missing at random, each pass repeated: the same to the bit."""
    few = LIVE[LIVE["target_session"].dt.date.isin(DAYS[:SOME])]
    rows = few[np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).random(len(few)) < 0.9]
    cuts = sorted(data.draw(st.sets(st.integers(1, SOME - 1), max_size=4)))
    at_once = update(Health(), rows, calibration())
    health = Health()
    for start, end in zip([0, *cuts], [*cuts, SOME], strict=True):
        part = rows[rows["target_session"].dt.date.isin(DAYS[start:end])].sample(frac=1.0, random_state=start)
        health = read_health(update(health, part, calibration()).model_dump_json())
        assert update(health, part, calibration()) == health  # the same pass again
    assert health == at_once
    assert health.model_dump_json() == at_once.model_dump_json()


def test_the_state_is_plain_json() -> None:
    stored = json.loads(judged().model_dump_json())
    assert stored["session"] == DAYS[-1].isoformat()
    assert stored["models"]["m0000"]["state"] == "broken"
    assert stored["fleet"]["state"] == "healthy"
    assert read_health(judged().model_dump_json()) == judged()


@pytest.mark.parametrize("text", ["", "{", '{"models": {"a": {"state": "sick"}}}', '{"unknown": 1}'])
def test_a_broken_file_is_an_error_with_a_hint(text: str) -> None:
    with pytest.raises(DataError, match="state of health is broken") as caught:
        read_health(text)
    assert "judged anew" in caught.value.hint


def test_an_alarm_stays_though_the_model_is_well_again() -> None:
    well = FLEET.live(SESSIONS)
    early = update(Health(), LIVE[LIVE["target_session"].dt.date.isin(DAYS[:35])], calibration())
    assert early.models["m0001"].state is State.BROKEN
    later = update(early, well, calibration())
    assert later.session == DAYS[-1]
    assert later.models["m0001"].state is State.BROKEN
    assert later.models["m0001"].since == early.models["m0001"].since
    assert later.models["m0001"].reason == early.models["m0001"].reason


def test_a_new_version_ends_an_alarm_and_keeps_the_scale() -> None:
    retrained = update(judged(), LIVE[:0], with_version("2", ["m0000"]))
    model = retrained.models["m0000"]
    assert (model.state, model.version, model.since) == (State.NOT_JUDGED, "2", DAYS[-1])
    assert model.reason == "no forecast of this version is settled yet"
    assert (model.cusum, model.peak, model.sessions, model.run.began) == (0.0, 0.0, 0, None)
    assert model.naive_error == judged().models["m0000"].naive_error
    assert retrained.models["m0001"] == judged().models["m0001"]


def test_forecasts_of_the_replaced_version_do_not_count() -> None:
    start = update(Health(), LIVE[LIVE["target_session"].dt.date.isin(DAYS[:40])], calibration())
    rest = LIVE[~LIVE["target_session"].dt.date.isin(DAYS[:40])]
    health = update(start, rest, with_version("2", ["m0000"]))
    assert health.models["m0000"].sessions == 0
    new_rows = rest.assign(version=np.where(rest["model"] == "m0000", "2", "1"))
    assert update(start, new_rows, with_version("2", ["m0000"])).models["m0000"].sessions == 20


def test_a_retrained_model_that_is_still_broken_alarms_again() -> None:
    start = update(Health(), LIVE[LIVE["target_session"].dt.date.isin(DAYS[:20])], calibration())
    rest = LIVE[~LIVE["target_session"].dt.date.isin(DAYS[:20])].assign(version="2")
    again = update(start, rest, with_version("2", FLEET.names))
    model = again.models["m0000"]
    assert model.state is State.BROKEN
    assert model.since is not None
    assert model.since > DAYS[20]


def test_models_without_forecasts_are_not_judged() -> None:
    silent = LIVE[(LIVE["model"] != "m0009") | LIVE["target_session"].dt.date.isin(DAYS[:10])]
    health = update(Health(), silent, calibration())
    model = health.models["m0009"]
    assert model.state is State.NOT_JUDGED
    assert model.reason == f"none of its forecasts was settled in the last {MOST_MISSED} sessions"
    assert model.since == DAYS[10 + MOST_MISSED]
    never = update(Health(), LIVE[LIVE["model"] != "m0009"], calibration()).models["m0009"]
    assert (never.state, never.reason) == (State.NOT_JUDGED, "no forecast of this version is settled yet")


def test_a_model_is_judged_again_when_its_forecasts_come_back() -> None:
    gap = LIVE[(LIVE["model"] != "m0009") | ~LIVE["target_session"].dt.date.isin(DAYS[10:30])]
    model = update(Health(), gap, calibration()).models["m0009"]
    assert (model.state, model.since, model.reason, model.missed) == (State.HEALTHY, DAYS[30], "", 0)


def test_a_broken_model_without_forecasts_stays_broken() -> None:
    stopped = LIVE[(LIVE["model"] != "m0000") | LIVE["target_session"].dt.date.isin(DAYS[:40])]
    assert update(Health(), stopped, calibration()).models["m0000"].state is State.BROKEN


def test_models_that_cannot_be_calibrated_say_why() -> None:
    short = pd.concat([FLEET.reference(), FLEET.live(3).assign(model="young")[:3]]).drop_duplicates(
        ["model", "target_session"]
    )
    mixed = calibrate(short, {**FLEET.versions, "young": "7"}, replicates=1000)
    health = update(Health(), LIVE, mixed)
    young = health.models["young"]
    assert (young.state, young.version) == (State.NOT_JUDGED, "7")
    assert "at least 80 are needed" in young.reason
    assert list(health.models) == sorted([*FLEET.names, "young"])
    assert update(health, LIVE, mixed) == health


def test_an_alarm_stays_when_the_reference_is_lost() -> None:
    lost = calibrate(FLEET.reference()[:0], FLEET.versions, replicates=1000)
    health = update(judged(), LIVE, lost)
    assert states(health, State.BROKEN) == FLEET.names[:3]
    assert len(states(health, State.NOT_JUDGED)) == 37


def test_removed_models_leave_the_state() -> None:
    fewer = {name: "1" for name in FLEET.names[:30]}
    health = update(judged(), LIVE, calibrate(FLEET.reference(), fewer, replicates=1000))
    assert list(health.models) == FLEET.names[:30]


def test_nothing_at_all_is_no_error() -> None:
    nobody = calibrate(LIVE[:0], {}, replicates=1000)
    assert update(Health(), LIVE, nobody) == Health()


def test_a_sudden_improvement_is_watched_and_not_called_broken() -> None:
    """Forecasts that suddenly know most of the return: likely a leak, not a fault of the forecasts."""
    leaky = FLEET.forecasts.copy()
    leaky[REFERENCE:, 0] = 0.9 * FLEET.returns[REFERENCE:, 0]
    model = update(Health(), Fleet(FLEET.returns, leaky).live(SESSIONS), calibration()).models["m0000"]
    assert model.state is State.WATCH
    assert "better than before, look for prices that it should not know" in model.reason


def test_watch_comes_before_an_alarm_and_passes() -> None:
    """A few bad sessions are watched, and forgotten when the model is as before."""
    some = FLEET.forecasts.copy()
    some[REFERENCE + 5 : REFERENCE + 8, 0] = -4.0 * FLEET.returns[REFERENCE + 5 : REFERENCE + 8, 0]
    fleet = Fleet(FLEET.returns, some)
    seen = []
    health = Health()
    for place in range(40):
        rows = fleet.frame(REFERENCE + place, REFERENCE + place + 1)
        health = update(health, rows, calibration())
        seen.append(health.models["m0000"].state)
        chance = calibration().nulls[500].probability(np.array(health.models["m0000"].cusum))
        if seen[-1] is State.WATCH:
            assert chance <= WATCH
    assert State.WATCH in seen[5:8]
    assert seen[-1] is State.HEALTHY
    assert State.BROKEN not in seen


@pytest.mark.parametrize("models", [1, 5, 19])
def test_small_fleets_are_judged_without_a_common_part(models: int) -> None:
    small = simulated_fleet(models, SESSIONS, seed=3)
    usual = calibrate(small.reference(), small.versions, replicates=2000)
    calm = update(Health(), small.live(SESSIONS), usual)
    assert states(calm, State.BROKEN) == []
    assert (calm.fleet.state, calm.fleet.shock) == (State.NOT_JUDGED, False)
    assert "too few models" in calm.fleet.reason
    found = update(Health(), small.broken(1, 1.0, seed=3).live(SESSIONS), usual)
    assert states(found, State.BROKEN) == ["m0000"]


def test_a_bad_row_is_an_error_and_not_a_state() -> None:
    bad = LIVE.assign(actual_close=LIVE["actual_close"].where(LIVE["model"] != "m0003", 0.0))
    with pytest.raises(DataError, match="not finite and > 0"):
        update(Health(), bad, calibration())


def test_the_highest_sum_starts_anew_after_a_year() -> None:
    """Probabilities are for a year; the evidence of the present run is kept, an old peak is not."""
    start = update(Health(), LIVE[LIVE["target_session"].dt.date.isin(DAYS[:30])], calibration())
    names = FLEET.names[10:12]
    old = {name: start.models[name].model_copy(update={"peak": 12.0, "sessions": 250}) for name in names}
    health = start.model_copy(update={"models": {**start.models, **old}})
    peaks = []
    for day in DAYS[30:33]:
        health = update(health, LIVE[LIVE["target_session"].dt.date == day], calibration())
        peaks.append([(health.models[name].peak, health.models[name].cusum) for name in names])
    assert [peak for peak, _ in peaks[0]] == [12.0, 12.0]
    assert all(peak == cusum < 12.0 for peak, cusum in peaks[1])
    assert all(cusum <= peak < 12.0 for peak, cusum in peaks[2])
