"""Calls to the desk and callers that follow a job are bounded; a closing server lets them go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from mlops_cli.serving.contract.job_desk import JobView
from mlops_cli.serving.contract.messages import OverloadedError
from mlops_cli.serving.http.jobs import job_office
from mlops_cli.serving.http.jobs.job_office import MOST_LISTENERS, JobOffice
from tests.fakes.job_desks import VIEW, ToldDesk


@dataclass
class SlowDesk(ToldDesk):
    """A desk whose database does not answer until it is told to."""

    def __post_init__(self) -> None:
        self.free = threading.Event()

    def job(self, number: int, team: str | None) -> JobView:
        assert self.free.wait(10)
        return super().job(number, team)


async def begun(views: AsyncIterator[JobView | None]) -> AsyncIterator[JobView | None]:
    assert await anext(views) == VIEW
    return views


def test_too_many_callers_are_told_to_come_again_and_room_comes_back() -> None:
    async def run() -> None:
        office = JobOffice(ToldDesk(), poll=5)
        streams = [await begun(await office.follow(1, None)) for _ in range(MOST_LISTENERS)]
        with pytest.raises(OverloadedError):
            await office.follow(1, None)
        await streams[0].aclose()  # type: ignore[attr-defined]
        await begun(await office.follow(1, None))
        office.close()

    asyncio.run(run())


def test_a_closing_server_ends_the_streams_at_once() -> None:
    async def run() -> float:
        office = JobOffice(ToldDesk(), poll=30)
        views = await begun(await office.follow(1, None))
        asyncio.get_running_loop().call_later(0.05, office.end_streams)
        since = time.monotonic()
        assert [view async for view in views] == []
        office.close()
        return time.monotonic() - since

    assert asyncio.run(run()) < 5


def test_a_quiet_job_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_office, "BEAT_SECONDS", 0.03)

    async def run() -> list[JobView | None]:
        office = JobOffice(ToldDesk(), poll=0.01)
        views = await office.follow(1, None)
        seen = [await anext(views) for _ in range(3)]
        office.close()
        return seen

    assert asyncio.run(run()) == [VIEW, None, None]


def test_a_database_that_does_not_answer_makes_callers_wait_only_up_to_a_bound() -> None:
    async def run() -> int:
        desk = SlowDesk()
        office = JobOffice(desk)
        calls = [asyncio.create_task(office.ask(desk.job, 1, None)) for _ in range(100)]
        await asyncio.sleep(0.05)
        refused = sum(call.done() and isinstance(call.exception(), OverloadedError) for call in calls)
        desk.free.set()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (await office.ask(desk.job, 2, None)).job == 2
        office.close()
        return refused

    assert asyncio.run(run()) == 36
