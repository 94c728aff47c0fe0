"""What `mlops doctor` says about passes that come, stop coming, are killed, and about the models in use."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.scaffold.check import Check
from mlops_cli.scaffold.nightly_checks import PASS, nightly_checks, sessions_since

FRIDAY_NIGHT = datetime(2024, 1, 5, 21, 30, tzinfo=UTC)


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


def write(project: Project, name: str, values: Any) -> None:
    project.live.mkdir(parents=True, exist_ok=True)
    (project.live / name).write_text(values if isinstance(values, str) else json.dumps(values))


def came(project: Project, session: str, *, ok: bool = True, finished: bool = True) -> None:
    began = f"{session}T21:25:00+00:00"
    end = f"{session}T21:26:00+00:00" if finished else None
    write(project, "last-pass.json", {"began": began, "finished": end, "session": session, "ok": ok, "latest": began})


def scheduled(project: Project, at: datetime, log: str = "live") -> None:
    rules = project.state / "logs" / "rotation.conf"
    rules.parent.mkdir(parents=True)
    rules.write_text(f'"{project.state}/logs/{log}.log" {{\n}}\n')
    os.utime(rules, (at.timestamp(), at.timestamp()))


def check(project: Project, now: datetime = FRIDAY_NIGHT) -> Check:
    (only,) = nightly_checks(project, ["XNYS"], now)
    return only


def test_a_project_without_passes_has_no_such_check(project):
    assert list(nightly_checks(project, ["XNYS"], FRIDAY_NIGHT)) == []


class TestLastPass:
    @pytest.mark.parametrize("session", ["2024-01-05", "2024-01-04"])
    def test_tonights_may_still_be_to_come(self, project, session):
        came(project, session)
        assert check(project) == Check(PASS, "ok", f"the last one came after the close of {session}")

    def test_when_two_sessions_have_ended_since_it_fails(self, project):
        came(project, "2024-01-03")
        found = check(project)
        assert (found.status, found.found) == (
            "failed",
            "the last one came after the close of 2024-01-03; 2 sessions have ended since",
        )
        assert found.hint.startswith("mlops live;")

    def test_weekends_and_holidays_are_no_sessions(self, project):
        came(project, "2023-12-29")
        assert check(project, datetime(2024, 1, 2, 22, tzinfo=UTC)).status == "ok"

    def test_one_that_failed_in_part_is_a_warning(self, project):
        came(project, "2024-01-05", ok=False)
        assert (check(project).status, check(project).hint) == ("warning", "mlops live")

    def test_one_may_be_running(self, project):
        came(project, "2024-01-05", finished=False)
        assert check(project) == Check(PASS, "ok", "one is running since 21:25 UTC")

    def test_one_that_does_not_end_was_killed(self, project):
        came(project, "2024-01-05", finished=False)
        found = check(project, FRIDAY_NIGHT + timedelta(hours=7))
        assert (found.status, found.hint) == ("failed", "mlops live")
        assert "began on 2024-01-05 at 21:25 UTC" in found.found

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"session": 7}', '{"session": "soon"}'])
    def test_a_damaged_file_fails_with_what_to_type(self, project, text):
        write(project, "last-pass.json", text)
        found = check(project)
        assert (found.status, "damaged" in found.found, found.hint.startswith("rm ")) == ("failed", True, True)


class TestSchedule:
    def test_the_first_pass_is_still_to_come(self, project):
        scheduled(project, FRIDAY_NIGHT)
        assert check(project) == Check(PASS, "ok", "scheduled on 2024-01-05; the first one is still to come")

    def test_one_that_never_came_fails(self, project):
        scheduled(project, FRIDAY_NIGHT - timedelta(days=3))
        assert check(project).status == "failed"
        assert "3 sessions have ended since, and none came" in check(project).found

    def test_a_schedule_of_trading_passes_alone_is_none_of_it(self, project):
        scheduled(project, FRIDAY_NIGHT - timedelta(days=30), "paper-trade-red")
        assert list(nightly_checks(project, ["XNYS"], FRIDAY_NIGHT)) == []


class TestModels:
    def fleet(self, project: Project, state: str, **models: int) -> Check:
        write(project, "fleet.json", {"state": state, "models": models})
        return check(project)

    def test_they_are_counted(self, project):
        found = self.fleet(project, "healthy", healthy=7, watch=1)
        assert (found.status, found.found) == ("ok", "7 healthy, 1 watch; the fleet: healthy")

    @pytest.mark.parametrize(("state", "models"), [("healthy", {"broken": 1}), ("broken", {"healthy": 9})])
    def test_alarms_are_a_warning(self, project, state, models):
        found = self.fleet(project, state, **models)
        assert (found.status, found.hint) == ("warning", "mlops models health --state broken")


class TestSessionsSince:
    def test_the_exchange_with_most_sessions_counts(self):
        day, now = datetime(2023, 12, 29).date(), datetime(2024, 1, 2, 22, tzinfo=UTC)
        assert sessions_since(["XNYS"], day, now) == 1
        assert sessions_since(["XNYS", "24/7"], day, now) == 3

    def test_without_models_or_with_an_unknown_exchange(self):
        day, now = datetime(2024, 1, 3).date(), FRIDAY_NIGHT
        assert sessions_since([], day, now) == 2
        assert sessions_since(["NONE"], day, now) == 0
