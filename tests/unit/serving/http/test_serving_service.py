"""What endpoints share: names, counted rungs, and a bound on work in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_cli.serving.contract.messages import OverloadedError, Rung, UnknownModelError
from mlops_cli.serving.http.counters import Counters
from mlops_cli.serving.http.service import Service, checked, json_answer
from mlops_cli.serving.http.worker_files import WorkerFiles


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(None, Counters(), WorkerFiles(tmp_path), 100, 1000)  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.mark.parametrize("name", ["a", "red-acme", "main/red-acme", "0", "a.b_c", "a" * 64 + "/" + "b" * 64])
def test_names_that_may_stand_in_a_path(name: str) -> None:
    assert checked(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a/b/c", "..", "../a", "a/..", ".hidden", "-a", "A", "a b", "a\n", "ä", "a" * 65, "a%2fb"],
)
def test_other_names_are_unknown_models(name: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        checked(name)
    assert len(caught.value.message) < 120


@pytest.mark.parametrize(
    ("rungs", "lowest"),
    [([], "full"), (["full"], "full"), (["cached", "small"], "cached"), (["full", "delayed", "small"], "delayed")],
)
def test_forecasts_are_counted_and_the_lowest_rung_is_told(service: Service, rungs: list[Rung], lowest: Rung) -> None:
    assert service.count(iter(rungs)) == lowest
    assert sum(service.counters.answers.values()) == len(rungs)


def test_work_in_threads_is_bounded_and_its_errors_come_through(service: Service) -> None:
    go = threading.Event()

    async def work() -> None:
        waiting = [asyncio.create_task(service.run_in_thread(go.wait, 10)) for _ in range(16)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="16 requests") as caught:
            await service.run_in_thread(go.wait)
        assert caught.value.retry_after == 1
        go.set()
        assert await asyncio.gather(*waiting) == [True] * 16
        with pytest.raises(ZeroDivisionError):
            await service.run_in_thread(divmod, 1, 0)
        assert await service.run_in_thread(divmod, 7, 2) == (3, 1), "a failure gives its place back"

    asyncio.run(work())


def test_an_answer_is_json_with_its_headers() -> None:
    answer = json_answer({"a": [1.5]}, {"X-Mlops-Rung": "full"})
    assert (answer.status_code, bytes(answer.body)) == (200, b'{"a":[1.5]}')
    assert (answer.headers["content-type"], answer.headers["x-mlops-rung"]) == ("application/json", "full")
