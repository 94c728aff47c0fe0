"""The step that judges models: from the first pass on, through new versions, kills and passes that did not come."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlops_cli.errors import DataError
from mlops_cli.live.health.state import State
from mlops_cli.live.passes.health import health_step
from mlops_cli.live.passes.record import record_step
from mlops_cli.live.passes.step import StepOutcome
from mlops_cli.live.watch.reference_files import FILE, read_references
from mlops_cli.live.watch.states import CALIBRATION, HEALTH, HISTORY, read_history, read_states
from tests.fakes.watched_fleet import TRAINED, WatchedFleet, noisy

FIRST = TRAINED + 130
"""Row of the first pass: the references have 130 sessions, of which 120 count."""


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A project after its first pass; calibrating takes a second."""
    fleet = WatchedFleet(tmp_path_factory.mktemp("begun"))
    judge(fleet, FIRST)
    return fleet.root


@pytest.fixture
def fleet(begun, tmp_path) -> WatchedFleet:
    shutil.copytree(begun, tmp_path / "project")
    made = WatchedFleet.__new__(WatchedFleet)
    made.root, made.models, made.sessions, made.alerts = tmp_path / "project", 3, 400, []
    return made


def judge(fleet: WatchedFleet, row: int, *, dry_run: bool = False) -> StepOutcome:
    """The step in the evening of a row's session."""
    fleet.prices_until(row)
    outcome = health_step(fleet.context(row, dry_run=dry_run))
    assert outcome.failures == []
    return outcome


def states(fleet: WatchedFleet) -> list[str]:
    return [str(model.state) for model in read_states(fleet.project).models.values()]


def files(fleet: WatchedFleet) -> dict[str, bytes]:
    return {name: (fleet.project.live / name).read_bytes() for name in (HEALTH, CALIBRATION, FILE, HISTORY)}


class TestBeginning:
    def test_the_first_pass_calibrates_on_replays_and_judges_nothing(self, fleet):
        health = read_states(fleet.project)
        assert list(health.models) == fleet.labels
        assert states(fleet) == ["not judged"] * 3
        assert health.session == fleet.day(FIRST)
        assert {model.reason for model in health.models.values()} == {"no forecast of this version is settled yet"}

    def test_from_the_second_one_on_there_are_states(self, fleet):
        fleet.nights(FIRST, FIRST)
        outcome = judge(fleet, FIRST + 1)
        assert states(fleet) == ["healthy"] * 3
        assert (outcome.done, outcome.unchanged) == (3, 0)
        assert (outcome.figures["calibrated"], outcome.figures["references"]) == (False, 0)
        assert read_states(fleet.project).session == fleet.day(FIRST + 1)

    def test_without_a_model_there_is_nothing_to_judge(self, tmp_path):
        empty = WatchedFleet(tmp_path, models=1, sessions=200)
        shutil.rmtree(empty.project.models("main"))
        outcome = judge(empty, 190)
        assert outcome.lines[0] == "the fleet: not judged; models: none has a version yet"
        assert read_states(empty.project).models == {}


class TestAgain:
    def test_a_second_pass_changes_nothing(self, fleet):
        fleet.nights(FIRST, FIRST)
        judge(fleet, FIRST + 1)
        before = files(fleet)
        outcome = judge(fleet, FIRST + 1)
        assert (outcome.done, outcome.unchanged) == (0, 3)
        assert files(fleet) == before

    @pytest.mark.parametrize("lost", [(HEALTH,), (HEALTH, CALIBRATION), (HEALTH, CALIBRATION, FILE)])
    def test_killed_before_it_wrote_a_file_it_ends_the_same(self, begun, fleet, lost):
        for name in lost:
            (fleet.project.live / name).unlink()
        judge(fleet, FIRST)
        for name in (HEALTH, CALIBRATION, HISTORY):
            assert (fleet.project.live / name).read_bytes() == (begun / ".mlops" / "live" / name).read_bytes()

    def test_sessions_one_by_one_or_all_at_once(self, begun, fleet, tmp_path):
        at_once = WatchedFleet.__new__(WatchedFleet)
        at_once.root, at_once.models, at_once.sessions, at_once.alerts = tmp_path / "other", 3, 400, []
        shutil.copytree(begun, at_once.root)
        for row in range(FIRST, FIRST + 5):
            fleet.nights(row, row, noisy(("red-t1",)))
            judge(fleet, row + 1)
        at_once.nights(FIRST, FIRST + 4, noisy(("red-t1",)))
        judge(at_once, FIRST + 5)
        assert read_states(at_once.project) == read_states(fleet.project)

    def test_a_dry_run_writes_nothing(self, fleet):
        before = files(fleet)
        fleet.nights(FIRST, FIRST)
        fleet.train("red-t0", FIRST + 1)
        outcome = judge(fleet, FIRST + 1, dry_run=True)
        assert outcome.done == 3
        assert files(fleet) == before


class TestAlarms:
    def test_a_broken_model_is_told_with_its_command_until_it_is_retrained(self, fleet):
        fleet.nights(FIRST, FIRST + 9, noisy(("red-t1",)))
        outcome = judge(fleet, FIRST + 10)
        assert states(fleet) == ["healthy", "broken", "healthy"]
        (trouble,) = outcome.troubles
        assert trouble.key == "health:main/red-t1"
        assert trouble.command == "mlops models health red-t1"
        assert "main/red-t1 is broken since" in trouble.text
        assert judge(fleet, FIRST + 10).troubles == [trouble]
        first = fleet.version("red-t1")
        second = fleet.train("red-t1", FIRST + 10)
        outcome = judge(fleet, FIRST + 11)
        assert outcome.troubles == []
        assert outcome.figures["references"] == 1
        changes = [
            (line["before"], line["after"], line["version"]) for line in read_history(fleet.project, "main/red-t1")
        ]
        assert changes == [
            (None, "not judged", first),
            ("not judged", "broken", first),
            ("broken", "not judged", second),
        ]

    def test_what_the_broken_version_forecast_is_in_no_reference(self, fleet):
        fleet.nights(FIRST, FIRST + 9, noisy(("red-t1",)))
        judge(fleet, FIRST + 10)
        began = read_states(fleet.project).models["main/red-t1"].run.began
        fleet.train("red-t1", FIRST + 10)
        judge(fleet, FIRST + 11)
        rows = read_references(fleet.project.live).rows
        newest = rows.groupby("model")["target_session"].max().dt.date
        assert newest["main/red-t1"] < began
        assert newest["main/red-t0"] == fleet.day(FIRST)  # of the same version, it stays as it was

    def test_a_new_alarm_names_the_inputs_that_moved(self, fleet):
        from mlops_cli.pipeline.stages.tables import read_table, write_table

        fleet.nights(FIRST, FIRST + 9, noisy(("red-t1",)))
        fleet.prices_until(FIRST + 10)
        features = fleet.project.features("main")
        table = read_table(features, "red-t1")
        table.loc[table.index[-50:], "volatility_5"] *= 20
        write_table(features, "red-t1", table)
        outcome = health_step(fleet.context(FIRST + 10))
        assert "inputs that are not as in training: volatility_5" in outcome.troubles[0].text
        reason = read_states(fleet.project).models["main/red-t1"].reason
        assert judge(fleet, FIRST + 10).done == 0
        assert read_states(fleet.project).models["main/red-t1"].reason == reason


class TestShortReferences:
    def test_a_model_is_judged_as_soon_as_its_forecasts_suffice(self, tmp_path):
        fleet = WatchedFleet(tmp_path, models=2, sessions=400)
        row = TRAINED + 78
        for evening in range(row, row + 5):
            outcome = judge(fleet, evening)
            fleet.nights(evening, evening)
            sessions = evening - TRAINED
            assert outcome.figures["calibrated"] == (sessions in (78, 80))
            expected = "not judged" if sessions <= 80 else "healthy"
            assert states(fleet) == [expected] * 2
        reasons = [line["reason"] for line in read_history(fleet.project, "main/red-t0")]
        assert reasons[0] == "its reference has 78 settled forecasts; at least 80 are needed"


class TestTrouble:
    def test_damaged_states_are_an_error(self, fleet):
        (fleet.project.live / HEALTH).write_text("{")
        with pytest.raises(DataError):
            judge(fleet, FIRST)

    def test_a_model_that_left_the_collection_leaves_health(self, fleet):
        fleet.nights(FIRST, FIRST)
        fleet.models = 2
        judge(fleet, FIRST + 1)
        assert list(read_states(fleet.project).models) == fleet.labels
        assert sorted(read_references(fleet.project.live).built) == ["main/red-t0", "main/red-t1", "main/red-t2"]

    def test_sessions_without_a_pass_are_left_out(self, fleet):
        fleet.nights(FIRST, FIRST)
        fleet.nights(FIRST + 4, FIRST + 4)
        judge(fleet, FIRST + 5)
        health = read_states(fleet.project)
        assert health.session == fleet.day(FIRST + 5)
        assert {model.sessions for model in health.models.values()} == {2}
        assert State.HEALTHY in {model.state for model in health.models.values()}


class TestOperations:
    def test_passes_that_did_not_come_are_told(self, fleet):
        record_step(fleet.project, fleet.day(FIRST), fleet.evening(FIRST), StepOutcome("issue"))
        outcome = judge(fleet, FIRST + 3)
        (trouble,) = outcome.troubles
        first, last = fleet.day(FIRST + 1), fleet.day(FIRST + 2)
        assert trouble.text == (
            f"no pass came after the close of {first} to {last}, 2 sessions: no forecasts were issued then"
        )
        assert trouble.is_event
        assert outcome.figures["missed_sessions"] == 2

    @pytest.mark.parametrize(("answers", "errors", "told"), [(1000, 19, 0), (1000, 20, 1), (10_000, 99, 0)])
    def test_many_errors_of_a_server_are_told(self, fleet, answers, errors, told):
        folder = fleet.project.live / "servers"
        folder.mkdir()
        statuses = {"200": answers - errors, "500": errors}
        (folder / "a.json").write_text(json.dumps({"at": fleet.evening(FIRST).isoformat(), "statuses": statuses}))
        outcome = judge(fleet, FIRST + 1)
        assert len(outcome.troubles) == told
        assert (outcome.figures["served"], outcome.figures["served_errors"]) == (answers, errors)
