"""Models in memory: the budget, the order of dropping, pins, users, and files that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnx
import pytest

from mlops_cli.models.manifest import GRAPH, file_hashes
from mlops_cli.models.shared.weight_files import WeightFiles
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.contract.messages import ServedVersion, UnservableError
from tests.fakes.served_catalogs import version
from tests.fakes.served_projects import COLUMNS, mlp_graph

MODELS = 4


class Shelf:
    """Prepared models, and a memory for them."""

    def __init__(self, root: Path) -> None:
        self.files = WeightFiles(root / "files")
        self.versions = [self._prepared(root / str(seed), seed) for seed in range(MODELS)]
        self.executor = ThreadPoolExecutor(1)

    def _prepared(self, folder: Path, seed: int) -> ServedVersion:
        folder.mkdir()
        onnx.save(mlp_graph(seed, 8), folder / GRAPH)
        sha = file_hashes(folder)[GRAPH]
        self.files.prepare(folder, sha, len(COLUMNS))
        return version(str(seed), sha=sha, folder=folder, inputs=COLUMNS)

    def memory(self, models: float = 100) -> LoadedModels:
        """A memory with room for so many models beside their session."""
        loaded = self.files.load(self.versions[0].sha)
        assert loaded is not None
        self.keep_session = loaded.architecture
        return LoadedModels(self.files, int(models * loaded.bytes) + self.files.architectures.bytes, self.executor)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.executor.shutdown()


def resident(shelf: Shelf, memory: LoadedModels) -> list[int]:
    return [number for number, served in enumerate(shelf.versions) if served.sha in memory]


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        return await work()

    return asyncio.run(whole())


def test_a_model_is_loaded_once_and_then_found(shelf: Shelf) -> None:
    memory = shelf.memory()

    async def work() -> None:
        assert memory.get(shelf.versions[0].sha) is None
        first = await memory.load(shelf.versions[0])
        assert await memory.load(shelf.versions[0]) is first
        assert memory.get(shelf.versions[0].sha) is first
        assert (len(memory), memory.loads, memory.evictions) == (1, 1, 0)

    run(work)


def test_the_least_recently_used_model_is_dropped_first(shelf: Shelf) -> None:
    memory = shelf.memory(2.5)

    async def work() -> None:
        await memory.load(shelf.versions[0])
        await memory.load(shelf.versions[1])
        memory.get(shelf.versions[0].sha)
        await memory.load(shelf.versions[2])
        assert resident(shelf, memory) == [0, 2]
        assert memory.evictions == 1
        assert memory.bytes <= memory.budget

    run(work)


def test_a_pinned_model_and_one_in_use_stay(shelf: Shelf) -> None:
    memory = shelf.memory(1.5)
    memory.pinned = {shelf.versions[0].sha}

    async def work() -> None:
        await memory.load(shelf.versions[0])
        used = await memory.load(shelf.versions[1])
        used.users += 1
        await memory.load(shelf.versions[2])
        assert resident(shelf, memory) == [0, 1, 2], "the newest stays too, or its request could not be answered"
        used.users -= 1
        await memory.load(shelf.versions[3])
        assert resident(shelf, memory) == [0, 3]

    run(work)


def test_a_model_larger_than_the_budget_is_loaded_all_the_same(shelf: Shelf) -> None:
    memory = shelf.memory(0.1)

    async def work() -> None:
        for served in shelf.versions:
            await memory.load(served)
            assert len(memory) == 1

    run(work)


def test_dropping_gives_the_memory_back_and_unknown_models_do_not_matter(shelf: Shelf) -> None:
    memory = shelf.memory()

    async def work() -> None:
        before = memory.bytes
        await memory.load(shelf.versions[0])
        await memory.load(shelf.versions[1])
        memory.drop("no such model")
        memory.drop_others({shelf.versions[1].sha})
        assert resident(shelf, memory) == [1]
        memory.drop(shelf.versions[1].sha)
        assert memory.bytes == before

    run(work)


def test_a_removed_file_is_written_again(shelf: Shelf) -> None:
    memory = shelf.memory()
    for path in shelf.files.folder.glob("*.weights"):
        path.unlink()

    async def work() -> None:
        assert (await memory.load(shelf.versions[0])).sha == shelf.versions[0].sha
        assert memory.failures == {}

    run(work)


def test_a_damaged_model_is_refused_with_the_reason_until_it_is_repaired(shelf: Shelf) -> None:
    memory, broken = shelf.memory(), shelf.versions[0]
    for path in shelf.files.folder.glob("*.weights"):
        path.unlink()
    graph = (broken.folder / GRAPH).read_bytes()
    (broken.folder / GRAPH).write_bytes(graph[:100])

    async def work() -> None:
        results = await asyncio.gather(*[memory.load(broken) for _ in range(5)], return_exceptions=True)
        assert all(isinstance(result, UnservableError) for result in results)
        assert "does not match its manifest" in str(results[0])
        assert list(memory.failures) == [broken.sha]
        (broken.folder / GRAPH).write_bytes(graph)
        await memory.load(broken)
        assert memory.failures == {}

    run(work)


def test_failures_are_forgotten_when_folders_are_read_again(shelf: Shelf) -> None:
    memory = shelf.memory()
    memory.failures["x"] = "damaged"
    memory.drop_others([])
    assert memory.failures == {}


def test_a_caller_that_hangs_up_stops_nobody_elses_load(shelf: Shelf) -> None:
    memory = LoadedModels(WeightFiles(shelf.files.folder), 10**9, shelf.executor)  # no session yet: a thread builds it

    async def work() -> None:
        first = asyncio.create_task(memory.load(shelf.versions[0]))
        second = asyncio.create_task(memory.load(shelf.versions[0]))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).sha == shelf.versions[0].sha
        assert memory.loads == 1

    run(work)
