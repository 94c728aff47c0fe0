"""Passes that did not come, and errors of servers, as the next pass sees them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.live.passes.record import record_step
from mlops_cli.live.passes.step import StepOutcome
from mlops_cli.live.watch.operations import KEPT, SERVERS, ServedCounts, missed_sessions, served_since

NOW = datetime(2024, 1, 5, 21, 30, tzinfo=UTC)
FRIDAY, MONDAY = date(2024, 1, 5), date(2024, 1, 8)


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


class TestMissedSessions:
    def came(self, project: Project, day: date, step: str = "issue") -> None:
        record_step(project, day, NOW, StepOutcome(step))

    def test_none_before_the_first_pass(self, project):
        assert missed_sessions(project, "XNYS", FRIDAY) == []

    def test_none_over_a_weekend(self, project):
        self.came(project, FRIDAY)
        assert missed_sessions(project, "XNYS", MONDAY) == []

    def test_holidays_are_no_sessions(self, project):
        self.came(project, date(2023, 12, 29))
        assert missed_sessions(project, "XNYS", date(2024, 1, 4)) == [date(2024, 1, 2), date(2024, 1, 3)]

    def test_todays_own_record_does_not_count(self, project):
        self.came(project, date(2024, 1, 3))
        self.came(project, FRIDAY)
        assert missed_sessions(project, "XNYS", FRIDAY) == [date(2024, 1, 4)]

    def test_a_pass_that_was_killed_before_it_issued_did_not_come(self, project):
        self.came(project, date(2024, 1, 3))
        self.came(project, date(2024, 1, 4), "ingest")
        assert missed_sessions(project, "XNYS", FRIDAY) == [date(2024, 1, 4)]


def serve(project: Project, name: str, at: datetime = NOW, **statuses: int) -> None:
    folder = project.live / SERVERS
    folder.mkdir(parents=True, exist_ok=True)
    counts = {status.removeprefix("s"): count for status, count in statuses.items()}
    (folder / f"{name}.json").write_text(json.dumps({"at": at.isoformat(), "statuses": counts}))


def since(project: Project, session: date = FRIDAY, *, write: bool = True) -> tuple[int, int]:
    counts = served_since(project, session, NOW, write=write)
    return counts.answers, counts.errors


class TestServed:
    def test_without_a_server_nothing_was_answered_and_nothing_is_written(self, project):
        assert since(project) == (0, 0)
        assert not project.live.exists()
        assert ServedCounts().share == 0.0

    def test_only_what_came_since_the_passes_after_an_earlier_session(self, project):
        serve(project, "a", s200=90, s404=5, s500=3, s503=2)
        assert since(project) == (100, 5)
        serve(project, "a", s200=190, s404=5, s500=3, s503=2)
        assert since(project, MONDAY) == (100, 0)

    def test_a_second_pass_after_the_same_session_says_the_same(self, project):
        serve(project, "a", s200=100)
        since(project)
        serve(project, "a", s200=150, s500=50)
        assert since(project, MONDAY) == (100, 50)
        assert since(project, MONDAY) == (100, 50)

    def test_servers_are_added_and_a_new_one_starts_at_0(self, project):
        serve(project, "a", s200=100)
        since(project)
        serve(project, "b", s200=10, s500=10)
        serve(project, "a", s200=101)
        assert since(project, MONDAY) == (21, 10)

    def test_a_dry_run_writes_nothing(self, project):
        serve(project, "a", s200=100)
        assert since(project, write=False) == (100, 0)
        assert since(project) == (100, 0)

    def test_files_of_servers_that_ended_long_ago_are_removed(self, project):
        serve(project, "old", NOW - KEPT - timedelta(days=1), s200=100)
        serve(project, "new", s200=1)
        assert since(project) == (1, 0)
        assert [path.name for path in (project.live / SERVERS).iterdir()] == ["new.json"]

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"statuses": 5}', '{"statuses": {"200": "many"}, "at": "x"}'])
    def test_a_damaged_file_is_left_out(self, project, text):
        serve(project, "a", s200=7)
        (project.live / SERVERS / "damaged.json").write_text(text)
        assert since(project) == (7, 0)
