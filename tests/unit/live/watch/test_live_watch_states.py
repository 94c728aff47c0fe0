"""The files of health: states that come back, a summary of the fleet, and a history without gaps and repetitions."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.errors import DataError
from mlops_cli.live.health.state import FleetHealth, Health, ModelHealth, State
from mlops_cli.live.watch.states import (
    CALIBRATION,
    FLEET,
    FLEET_FILE,
    HEALTH,
    HISTORY,
    append_history,
    changes,
    read_history,
    read_states,
    stored_calibration,
    write_states,
)

NOW = datetime(2024, 1, 5, 21, 30, tzinfo=UTC)
DAY = date(2024, 1, 5)


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


def health(fleet: State = State.HEALTHY, **states: State) -> Health:
    models = {
        f"main/{name}": ModelHealth(version="1", state=state, reason="why" if state is State.BROKEN else "")
        for name, state in states.items()
    }
    return Health(session=DAY, models=models, fleet=FleetHealth(state=fleet, since=DAY))


class TestStates:
    def test_before_the_first_pass_there_are_none(self, project):
        assert read_states(project) == Health()

    def test_they_come_back(self, project):
        stored = health(a=State.BROKEN, b=State.HEALTHY)
        write_states(project, stored)
        assert read_states(project) == stored

    def test_a_summary_is_written_beside_them(self, project):
        write_states(project, health(State.WATCH, a=State.BROKEN, b=State.HEALTHY, c=State.HEALTHY))
        assert json.loads((project.live / FLEET_FILE).read_text()) == {
            "session": "2024-01-05",
            "state": "watch",
            "since": "2024-01-05",
            "reason": "",
            "models": {"broken": 1, "healthy": 2},
        }

    def test_damaged_ones_are_an_error_that_says_what_to_do(self, project):
        project.live.mkdir(parents=True)
        (project.live / HEALTH).write_text("{")
        with pytest.raises(DataError, match="broken") as raised:
            read_states(project)
        assert "remove it" in raised.value.hint

    def test_a_damaged_calibration_is_none(self, project):
        assert stored_calibration(project) is None
        project.live.mkdir(parents=True)
        (project.live / CALIBRATION).write_text("{")
        assert stored_calibration(project) is None


class TestChanges:
    def test_only_what_changed(self):
        before = health(a=State.HEALTHY, b=State.HEALTHY)
        after = health(State.BROKEN, a=State.HEALTHY, b=State.BROKEN, c=State.HEALTHY)
        assert [(change.model, change.before, change.after, change.reason) for change in changes(before, after)] == [
            ("main/b", "healthy", "broken", "why"),
            ("main/c", None, "healthy", ""),
            (FLEET, "healthy", "broken", ""),
        ]

    def test_a_new_version_is_a_change(self):
        before = health(a=State.NOT_JUDGED)
        after = before.model_copy(update={"models": {"main/a": ModelHealth(version="2")}})
        (change,) = changes(before, after)
        assert (change.version, change.retrained_from, change.after) == ("2", "1", "not judged")


class TestHistory:
    def write(self, project: Project, before: Health, after: Health) -> None:
        append_history(project, changes(before, after), NOW)

    def test_of_one_model_in_order(self, project):
        self.write(project, Health(), health(a=State.HEALTHY, b=State.HEALTHY))
        self.write(project, health(a=State.HEALTHY), health(a=State.BROKEN))
        lines = read_history(project, "main/a")
        assert [(line["before"], line["after"]) for line in lines] == [(None, "healthy"), ("healthy", "broken")]
        assert (lines[1]["at"], lines[1]["session"]) == ("2024-01-05T21:30:00+00:00", "2024-01-05")

    def test_a_killed_pass_that_runs_again_adds_nothing_twice(self, project):
        for _ in range(2):
            self.write(project, Health(), health(a=State.HEALTHY))
        assert len(read_history(project, "main/a")) == 1
        assert len(read_history(project, FLEET)) == 1

    @pytest.mark.parametrize("left", [1, 10, 60])
    def test_a_line_that_a_kill_cut_off_is_written_again(self, project, left):
        self.write(project, Health(), health(a=State.HEALTHY))
        path = project.live / HISTORY
        whole = path.read_bytes()
        path.write_bytes(whole[:-left])
        self.write(project, Health(), health(a=State.HEALTHY))
        assert len(read_history(project, "main/a")) == 1
        assert len(read_history(project, FLEET)) == 1

    def test_nothing_changed_writes_nothing(self, project):
        self.write(project, health(a=State.HEALTHY), health(a=State.HEALTHY))
        assert not (project.live / HISTORY).exists()
        assert read_history(project, "main/a") == []
