"""The parts of the policy one by one: traffic split, load level, answers kept, queue."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mlops_cli.config.schemas.serving import CachedAnswer, Serving
from mlops_cli.models.manifest import GRAPH, file_hashes
from mlops_cli.models.shared.weight_files import LoadedModel, WeightFiles
from mlops_cli.serving.answering import dispatcher as dispatching
from mlops_cli.serving.answering.degradation import AnswerCache, LoadLevel, StoredAnswer
from mlops_cli.serving.answering.dispatcher import Dispatcher
from mlops_cli.serving.catalog.catalog import route, version_for_role
from mlops_cli.serving.contract.messages import OverloadedError, ServedVersion, UnservableError
from tests.fakes.served_projects import COLUMNS, mlp_graph

ROW = np.ones((1, len(COLUMNS)), dtype=np.float32)


def version(name: str) -> ServedVersion:
    return ServedVersion(name, name, Path(name), COLUMNS, "ACME", "red", date(2020, 1, 2), 0.5, None)


NEW, OLD, OLDER = version("new"), version("old"), version("older")


def test_a_split_has_its_shares_with_callers_and_without() -> None:
    split = route("m", {"champion": 0.9, "challenger": 0.1}, [NEW, OLD], "old")
    assert split is not None
    without = Counter(split.pick(None).version for _ in range(1000))
    assert abs(without["new"] - 100) <= 2
    with_callers = Counter(split.pick(f"caller {number}").version for number in range(5000))
    assert 400 < with_callers["new"] < 600


def test_a_caller_sticks_to_its_side_across_server_starts_and_rising_shares() -> None:
    ten, twenty = (route("m", {"champion": 1 - share, "challenger": share}, [NEW, OLD], "old") for share in (0.1, 0.2))
    assert ten is not None
    assert twenty is not None
    callers = [f"caller {number}" for number in range(500)]
    before = {caller: ten.pick(caller).version for caller in callers}
    assert all(ten.pick(caller).version == before[caller] for caller in callers)
    moved = [caller for caller in callers if twenty.pick(caller).version != before[caller]]
    assert all(before[caller] == "old" for caller in moved)


def test_what_a_route_names_and_what_becomes_of_a_side_that_is_not_there() -> None:
    assert version_for_role("champion", [NEW, OLD], "old") is OLD
    assert version_for_role("champion", [NEW, OLD], "gone") is NEW
    assert version_for_role("challenger", [NEW, OLD], "old") is NEW
    assert version_for_role("challenger", [NEW, OLD], "new") is None
    assert version_for_role("older", [NEW, OLDER], "new") is OLDER
    alone = route("m", {"champion": 0.5, "challenger": 0.3, "gone": 0.2}, [NEW], None)
    assert alone is not None
    assert alone.versions == (NEW,)
    assert alone.pick(None) is NEW
    assert route("m", {"champion": 0.0}, [NEW], None) is None


def levels(settings: Serving, delays: list[float]) -> list[int]:
    load, found = LoadLevel(settings), []
    for delay in delays:
        for _ in range(40):  # until smoothing has settled
            load.observe(delay / 2, delay / 2)
        found.append(load.level)
    return found


def test_levels_rise_and_fall_with_hysteresis() -> None:
    delays = [0, 15, 25, 15, 5, 60, 30, 20, 200, 60, 40, 0]
    assert levels(Serving(), delays) == [0, 0, 1, 1, 0, 2, 2, 1, 3, 3, 2, 0]


def test_a_step_that_is_switched_off_is_never_taken() -> None:
    settings = Serving.model_validate({"cached_answer": {"enabled": False}, "delayed_answer": {"enabled": False}})
    assert levels(settings, [0, 60, 5000]) == [0, 1, 1]


def test_pauses_change_no_level_but_a_standing_queue_does() -> None:
    load = LoadLevel(Serving())
    for lag in [0, 0, 0, *[5000, 0, 0, 0] * 5, 5000, 5000, 0]:
        load.observe(0, lag)
        assert load.level == 0
    for _ in range(3):
        load.observe(300, 0)
    assert load.level == 2
    assert load.queue_ms == pytest.approx(0.3 * 300)


def kept(version: str, at: float) -> StoredAnswer:
    return StoredAnswer("m", version, ROW[0], ROW[0], at)


def test_cached_answers_are_fresh_by_version_and_age_and_stale_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("mlops_cli.serving.answering.degradation.time.monotonic", lambda: now)
    cache = AnswerCache(CachedAnswer(entries=2, ttl_seconds=10, stale_seconds=100))
    key = cache.key("m", COLUMNS, ROW)
    assert key == cache.key("m", COLUMNS, ROW.copy())
    assert key != cache.key("m", COLUMNS, ROW + 1)
    assert key != cache.key("n", COLUMNS, ROW)
    assert key != cache.key("m", COLUMNS[::-1], ROW)
    cache.put(key, kept("a", 995))
    assert cache.get(key, ("a",), stale=False) is not None
    assert cache.get(key, ("b", "a"), stale=False) is not None
    assert cache.get(key, ("b",), stale=False) is None
    assert cache.get(key, ("b",), stale=True) is None, "another version's answer is nobody else's"
    cache.put(key, kept("b", 996))
    found = cache.get(key, ("a", "b"), stale=False)
    assert found is not None
    assert found.version == "a", "what a shadow or an asked-for version answered takes no place"
    cache.put(key, kept("a", 950))
    assert cache.get(key, ("a",), stale=False) is None
    assert cache.get(key, ("a",), stale=True) is not None
    cache.put(key, kept("a", 899))
    assert cache.get(key, ("a",), stale=True) is None
    for number in range(2):
        cache.put(cache.key(f"other {number}", COLUMNS, ROW), kept("a", now))
    assert cache.get(key, ("a",), stale=True) is None  # the least recently used went


def test_an_answer_that_was_given_again_outlives_a_newer_one() -> None:
    cache = AnswerCache(CachedAnswer(entries=2))
    first, second, third = (cache.key(name, COLUMNS, ROW) for name in "abc")
    for key in (first, second):
        cache.put(key, kept("v", time.monotonic()))
    assert cache.get(first, ("v",), stale=False) is not None
    cache.put(third, kept("v", time.monotonic()))
    assert cache.get(second, ("v",), stale=True) is None
    assert cache.get(first, ("v",), stale=True) is not None


def test_no_short_request_has_the_key_of_a_long_one() -> None:
    long = np.arange(400, dtype=np.float32).reshape(100, 4)
    digest = AnswerCache.key("m", ("a", "b", "c", "d"), long)[2]
    assert len(digest) % 4, "values have 4 bytes each, so no row is this digest"
    assert digest != AnswerCache.key("m", ("a", "b", "c", "d"), long + 1)[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    onnx.save(mlp_graph(3), folder / GRAPH)
    sha = file_hashes(folder)[GRAPH]
    files = WeightFiles(folder / "files")
    files.prepare(folder, sha, len(COLUMNS))
    loaded = files.load(sha)
    assert loaded is not None
    return loaded


def dispatcher(**delayed: Any) -> Dispatcher:
    return Dispatcher(Serving.model_validate({"delayed_answer": delayed, "batching": {"max_rows": 8}}))


@pytest.mark.parametrize("slow", [False, True])
def test_queued_requests_of_one_model_run_together_and_each_gets_its_own_rows(model: LoadedModel, slow: bool) -> None:
    async def work() -> None:
        queue = dispatcher()
        model.seconds = 1.0 if slow else 0.0  # slow ones run in a thread
        rows = [np.random.default_rng(n).standard_normal((n % 3 + 1, len(COLUMNS))).astype("f4") for n in range(30)]
        answers = await asyncio.gather(*[queue.run_queued(model, one) for one in rows])
        model.seconds = 0.0
        for given, (outputs, waited) in zip(rows, answers, strict=True):
            await asyncio.sleep(0)  # the next slice
            alone = queue.run_now(model, given)
            assert alone is not None
            np.testing.assert_allclose(outputs[0], alone[0], atol=1e-6)
            assert len(outputs[1]) == len(given)
            assert waited >= 0
        assert queue.queued == 0
        assert model.users == 0
        await queue.stop()

    asyncio.run(work())


def test_more_rows_than_one_run_takes_are_answered_in_parts(model: LoadedModel) -> None:
    async def work() -> None:
        queue = dispatcher()
        rows = np.random.default_rng(0).standard_normal((100, len(COLUMNS))).astype(np.float32)
        assert queue.run_now(model, rows) is None
        outputs, _ = await queue.run_queued(model, rows)
        one = queue.run_now(model, rows[77:78])
        assert one is not None
        np.testing.assert_allclose(outputs[0][77], one[0][0], atol=1e-6)
        assert outputs[0].shape == (100,)
        await queue.stop()

    model.seconds = 0.0
    asyncio.run(work())


def test_a_full_queue_and_a_passed_deadline_are_refused_with_a_time_to_come_back(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "SLICE_SECONDS", 60.0)  # however slow this machine is just now

    async def work() -> None:
        queue = dispatcher(queue=4, deadline_ms=50)
        tasks = [asyncio.create_task(queue.run_queued(model, ROW)) for _ in range(6)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [result for result in results if isinstance(result, OverloadedError)]
        assert len(refused) == 2, results
        assert all(error.retry_after >= 1 for error in refused)
        task = asyncio.create_task(queue.run_queued(model, ROW))
        await asyncio.sleep(0)  # it is in the queue; the loop is held up now
        time.sleep(0.1)
        with pytest.raises(OverloadedError, match="within 50 ms"):
            await task
        assert queue.longest_wait() > 0.05
        assert queue.longest_wait() == 0
        await queue.stop()

    model.seconds = 0.0
    asyncio.run(work())


def test_who_hangs_up_while_waiting_takes_no_room(model: LoadedModel) -> None:
    async def work() -> None:
        queue = dispatcher()
        tasks = [asyncio.create_task(queue.run_queued(model, ROW)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert not isinstance(results[2], BaseException)
        assert queue.queued == 0
        assert model.users == 0
        await queue.stop()

    model.seconds = 0.0
    asyncio.run(work())


def test_the_loop_is_given_back_after_a_slice(model: LoadedModel) -> None:
    async def work() -> None:
        queue = dispatcher()
        count = 0
        while queue.run_now(model, ROW) is not None:
            count += 1
            assert count < 10_000
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert queue.run_now(model, ROW) is not None
        await queue.stop()

    model.seconds = 0.0
    asyncio.run(work())


def test_a_graph_that_fails_says_so_to_all_who_wait(model: LoadedModel) -> None:
    async def work() -> None:
        queue = dispatcher()
        wrong = np.ones((1, 3), dtype=np.float32)
        with pytest.raises(UnservableError, match="does not fit"):
            queue.run_now(model, wrong)
        with pytest.raises(UnservableError, match="does not fit"):
            await queue.run_queued(model, wrong)
        await queue.stop()

    model.seconds = 0.0
    asyncio.run(work())
