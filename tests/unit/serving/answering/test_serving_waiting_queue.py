"""The queue of waiting requests: batches, turns, deadlines, and how long requests waited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from mlops_cli.models.shared.weight_files import LoadedModel
from mlops_cli.serving.answering.waiting_queue import Batch, Waiting, WaitingQueue
from mlops_cli.serving.contract.messages import OverloadedError, UnservableError

FOREVER = 1e9


def loaded(name: str) -> LoadedModel:
    return LoadedModel(name, None, {}, 0)  # type: ignore[arg-type]


def waiting(rows: int = 1, since: float | None = None, value: float = 0.0) -> Waiting:
    values = np.full((rows, 2), value, dtype=np.float32)
    future = asyncio.get_running_loop().create_future()
    return Waiting(values, perf_counter() if since is None else since, future)


def in_loop(work: Callable[[], Any]) -> None:
    async def whole() -> None:
        work()

    asyncio.run(whole())


def taken(queue: WaitingQueue) -> tuple[str, list[Waiting]]:
    batch = queue.take()
    assert batch is not None
    return batch.model.sha, list(batch.requests)


def test_requests_of_a_model_run_together_and_models_take_turns() -> None:
    def work() -> None:
        queue, a, b = WaitingQueue(FOREVER, 2), loaded("a"), loaded("b")
        first = [waiting() for _ in range(3)]
        other = waiting()
        for request in first:
            queue.add(a, request)
        queue.add(b, other)
        assert queue.count == 4
        assert taken(queue) == ("a", first[:2])
        assert taken(queue) == ("b", [other])
        assert taken(queue) == ("a", first[2:])
        assert queue.count == 0

    in_loop(work)


def test_rows_are_counted_and_a_larger_request_runs_alone() -> None:
    def work() -> None:
        queue, a = WaitingQueue(FOREVER, 10), loaded("a")
        sizes = [6, 5, 5, 100, 1]
        for size in sizes:
            queue.add(a, waiting(size))
        assert [[len(request.rows) for request in taken(queue)[1]] for _ in range(4)] == [[6], [5, 5], [100], [1]]

    in_loop(work)


def test_who_hung_up_is_dropped_and_who_waited_too_long_is_refused() -> None:
    def work() -> None:
        queue, a = WaitingQueue(0.5, 10), loaded("a")
        gone, late, fine = waiting(), waiting(since=perf_counter() - 1), waiting()
        gone.done.cancel()
        for request in (gone, late, fine):
            queue.add(a, request)
        assert taken(queue) == ("a", [fine])
        assert queue.count == 0
        error = late.done.exception()
        assert isinstance(error, OverloadedError)
        assert error.message == "not answered within 500 ms"

    in_loop(work)


def test_a_model_whose_requests_are_all_gone_gives_no_batch() -> None:
    def work() -> None:
        queue, a, b = WaitingQueue(FOREVER, 10), loaded("a"), loaded("b")
        gone, fine = waiting(), waiting()
        gone.done.cancel()
        queue.add(a, gone)
        queue.add(b, fine)
        assert queue.take() is None
        assert queue.count == 1
        assert taken(queue) == ("b", [fine])

    in_loop(work)


def test_expired_requests_leave_the_queue_without_a_run() -> None:
    def work() -> None:
        queue, a, b = WaitingQueue(0.5, 10), loaded("a"), loaded("b")
        late, fine = waiting(since=0.0), waiting(since=1.0)
        queue.add(a, late)
        queue.add(b, fine)
        queue.expire(0.4)
        assert queue.count == 2
        queue.expire(1.2)
        assert queue.count == 1
        assert isinstance(late.done.exception(), OverloadedError)
        assert not fine.done.done()

    in_loop(work)


def test_the_longest_wait_counts_the_waiting_the_taken_and_the_refused_once() -> None:
    def work() -> None:
        queue, a = WaitingQueue(5.0, 10), loaded("a")
        now = perf_counter()
        assert queue.longest_wait(now) == 0.0
        queue.add(a, waiting(since=now - 2))
        assert queue.longest_wait(now) == pytest.approx(2)
        assert queue.longest_wait(now + 1) == pytest.approx(3), "it still waits"
        queue.take()
        assert queue.longest_wait(now + 9) == pytest.approx(2, abs=0.5)
        assert queue.longest_wait(now + 9) == 0.0
        queue.add(a, waiting(since=now - 6))
        queue.expire(now)
        assert queue.longest_wait(now) == pytest.approx(6)

    in_loop(work)


@pytest.mark.parametrize(("deadline", "seconds"), [(0.05, 1), (1.0, 1), (1.5, 2), (float("inf"), 1)])
def test_refused_callers_come_back_after_whole_seconds(deadline: float, seconds: int) -> None:
    assert WaitingQueue(deadline, 1).retry_after() == seconds


def test_each_request_of_a_batch_gets_its_own_rows() -> None:
    def work() -> None:
        requests = [waiting(rows, since=10.0, value=rows) for rows in (2, 1, 3)]
        requests[1].done.cancel()
        batch = Batch(loaded("a"), requests)
        rows = batch.rows()
        batch.answer((rows[:, 0], -rows[:, 0]), started=12.5)
        for request in (requests[0], requests[2]):
            (log_return, raw), seconds = request.done.result()
            np.testing.assert_array_equal(log_return, request.rows[:, 0])
            np.testing.assert_array_equal(raw, -request.rows[:, 0])
            assert seconds == 2.5

    in_loop(work)


def test_a_failed_batch_fails_only_those_without_an_answer() -> None:
    def work() -> None:
        requests = [waiting() for _ in range(3)]
        requests[0].done.set_result((None, 0.0))  # type: ignore[arg-type]
        batch = Batch(loaded("a"), requests)
        batch.fail(UnservableError("it failed"))
        batch.close()
        assert requests[0].done.result() == (None, 0.0)
        assert {str(request.done.exception()) for request in requests[1:]} == {"it failed"}

    in_loop(work)


def test_a_batch_that_ends_without_an_answer_leaves_nobody_waiting() -> None:
    def work() -> None:
        request = waiting()
        Batch(loaded("a"), [request]).close()
        assert "ended without an answer" in str(request.done.exception())

    in_loop(work)
