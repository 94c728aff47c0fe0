"""Issued forecasts in memory: when they are read again, and what happens while or if they cannot be read."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Hashable
from datetime import date
from typing import Any

import pytest

from mlops_cli.errors import DataError
from mlops_cli.serving.answering.issued_cache import IssuedCache
from mlops_cli.serving.contract.issued_forecasts import Issued, IssuedKey
from tests.fakes.issued_forecasts import an_issued_forecast

MONDAY, TUESDAY = date(2024, 1, 8), date(2024, 1, 9)


class Source:
    """A journal that a test changes, damages and locks."""

    def __init__(self) -> None:
        self.version = 0
        self.closes: dict[date, float] = {MONDAY: 10.0, TUESDAY: 11.0}
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.reads: list[set[date]] = []

    def state(self) -> Hashable:
        return self.version

    def made_on(self, sessions: Collection[date]) -> Issued:
        self.reads.append(set(sessions))
        assert self.free.wait(10)
        if self.error is not None:
            raise self.error
        return {
            IssuedKey("main", "red-a", day): an_issued_forecast(predicted_close=self.closes[day]) for day in sessions
        }


def run(source: Source, work: Callable[[IssuedCache], Coroutine[Any, Any, None]], **settings: float) -> None:
    async def whole() -> None:
        cache = IssuedCache(source, **settings)
        try:
            await work(cache)
        finally:
            source.free.set()
            cache.close()

    asyncio.run(whole())


def closes(issued: Issued) -> dict[date, float]:
    return {key.session: forecast.predicted_close for key, forecast in issued.items()}


def test_nothing_is_read_twice_until_it_changes() -> None:
    source = Source()

    async def work(cache: IssuedCache) -> None:
        for _ in range(3):
            assert closes(await cache.made_on([MONDAY, TUESDAY])) == {MONDAY: 10.0, TUESDAY: 11.0}
            assert (await cache.made_on([TUESDAY])).keys() >= {IssuedKey("main", "red-a", TUESDAY)}
        assert source.reads == [{MONDAY, TUESDAY}]
        source.version, source.closes[TUESDAY] = 1, 12.0
        assert closes(await cache.made_on([TUESDAY])) == {TUESDAY: 12.0}
        assert source.reads[1:] == [{TUESDAY}], "sessions of before are not read for ever"

    run(source, work)


def test_other_sessions_are_read_with_those_that_are_there() -> None:
    source = Source()

    async def work(cache: IssuedCache) -> None:
        await cache.made_on([MONDAY])
        assert closes(await cache.made_on([TUESDAY])) == {MONDAY: 10.0, TUESDAY: 11.0}
        await cache.made_on([MONDAY])
        assert source.reads == [{MONDAY}, {MONDAY, TUESDAY}]

    run(source, work)


def test_asking_for_no_session_looks_whether_it_can_be_read() -> None:
    source = Source()

    async def work(cache: IssuedCache) -> None:
        await cache.made_on([MONDAY])
        assert closes(await cache.made_on(())) == {MONDAY: 10.0}
        assert len(source.reads) == 1, "nothing has changed"
        source.version, source.error = 1, DataError("it is damaged")
        await cache.made_on(())
        assert cache.problem == "it is damaged"

    run(source, work)


def test_many_requests_at_once_read_once() -> None:
    source = Source()

    async def work(cache: IssuedCache) -> None:
        answers = await asyncio.gather(*(cache.made_on([MONDAY]) for _ in range(20)))
        assert all(closes(answer) == {MONDAY: 10.0} for answer in answers)
        assert len(source.reads) == 1

    run(source, work)


def test_a_slow_read_is_not_waited_for_and_is_there_later() -> None:
    source = Source()

    async def work(cache: IssuedCache) -> None:
        await cache.made_on([MONDAY])
        source.version, source.closes[MONDAY] = 1, 12.0
        source.free.clear()
        assert closes(await cache.made_on([MONDAY])) == {MONDAY: 10.0}, "what was read before"
        assert "could not be read within 0.05 s" in cache.problem
        began = time.perf_counter()
        for _ in range(100):
            assert closes(await cache.made_on([MONDAY])) == {MONDAY: 10.0}
        assert time.perf_counter() - began < 1.0, "only the first request waits"
        assert len(source.reads) == 2, "one at a time"
        source.free.set()
        while closes(await cache.made_on([MONDAY])) != {MONDAY: 12.0}:
            await asyncio.sleep(0.01)
        assert cache.problem == ""

    run(source, work, patience=0.05)


def test_what_cannot_be_read_is_named_and_tried_again_later() -> None:
    source = Source()

    async def work(cache: IssuedCache) -> None:
        await cache.made_on([MONDAY])
        source.version, source.error = 1, DataError("it is damaged")
        for _ in range(3):
            assert await cache.made_on([MONDAY]) == {}
            assert cache.problem == "it is damaged"
        assert len(source.reads) == 2
        source.error = None
        await asyncio.sleep(0.25)
        assert closes(await cache.made_on([MONDAY])) == {MONDAY: 10.0}, "also if the file looks the same"
        assert cache.problem == ""

    run(source, work, retry=0.2)


def test_a_caller_that_goes_away_stops_no_read() -> None:
    source = Source()

    async def work(cache: IssuedCache) -> None:
        source.free.clear()
        asking = asyncio.create_task(cache.made_on([MONDAY]))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        source.free.set()
        assert closes(await cache.made_on([MONDAY])) == {MONDAY: 10.0}
        assert len(source.reads) == 1

    run(source, work)
