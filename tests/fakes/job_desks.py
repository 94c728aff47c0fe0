"""Desks of a queue of jobs, for the tests of servers: one over a real queue, one that is told what to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from mlops_cli.errors import MlopsError
from mlops_cli.serving.contract.job_desk import JobState, JobView, SubmittedJobs

VIEW = JobView(
    job=1,
    team="red",
    model="red-nvda",
    ticker="NVDA",
    state="waiting",
    data="2024-01-05",
    submitted_at=datetime(2024, 1, 5, tzinfo=UTC),
    due_at=datetime(2024, 1, 5, tzinfo=UTC),
    taken_at=None,
    ended_at=None,
    tries=0,
    failures=0,
    progress="",
    reason="",
    version=None,
)


@dataclass
class ToldDesk:
    """Answers each question about a job with the next of `answers`, the last one for ever; an error is raised."""

    answers: list[JobView | MlopsError] = field(default_factory=lambda: [VIEW])
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def _next(self, *question: Any) -> JobView:
        self.asked.append(question)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, MlopsError):
            raise answer
        return answer

    def submit(self, team: str | None, body: Any) -> SubmittedJobs:
        view = self._next("submit", team, body)
        return SubmittedJobs([view], [view.job] if view.tries == 0 else [])

    def jobs(self, team: str | None, states: Sequence[JobState], limit: int) -> list[JobView]:
        return [self._next("jobs", team, tuple(states), limit)]

    def job(self, number: int, team: str | None) -> JobView:
        return replace(self._next("job", number, team), job=number)

    def cancel(self, number: int, team: str | None) -> JobView:
        return self._next("cancel", number, team)

    def close(self) -> None:
        pass

    def retry(self, number: int, team: str | None) -> JobView:
        return self._next("retry", number, team)
