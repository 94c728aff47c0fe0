"""Files by which workers exchange counters and unloaded models."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlops_cli.errors import MlopsError
from mlops_cli.serving.contract.messages import UnknownModelError
from mlops_cli.serving.http import worker_files
from mlops_cli.serving.http.counters import Counters
from mlops_cli.serving.http.worker_files import WorkerFiles, keep_in_step


@dataclass
class Plane:
    """A data plane that only remembers what it was told."""

    failure: MlopsError | None = None
    calls: list[str] = field(default_factory=list)

    def measures(self) -> dict[str, float]:
        return {"queued": 1.0}

    async def load(self, model: str) -> None:
        await self._call(f"load {model}")

    async def unload(self, model: str) -> None:
        await self._call(f"unload {model}")

    async def _call(self, what: str) -> None:
        self.calls.append(what)
        if self.failure is not None:
            raise self.failure


def test_names_of_models_become_file_names_and_names_again(tmp_path: Path) -> None:
    files = WorkerFiles(tmp_path)
    for name in ("red-acme", "main/red-acme", "../../etc/passwd", "%2F"):
        files.mark_unloaded(name, True)
    assert files.unloaded() == {"red-acme", "main/red-acme", "../../etc/passwd", "%2F"}
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "unloaded"}
    files.mark_unloaded("main/red-acme", False)
    files.mark_unloaded("never-unloaded", False)
    assert "main/red-acme" not in WorkerFiles(tmp_path, 1).unloaded()


def test_a_worker_without_a_predecessor_starts_at_zero(tmp_path: Path) -> None:
    assert WorkerFiles(tmp_path, 3).resume() == Counters()
    assert WorkerFiles(tmp_path).everyone() == (Counters(), [])


def test_a_worker_goes_on_where_its_predecessor_stopped(tmp_path: Path) -> None:
    counters = Counters()
    counters.took(0.1)
    counters.statuses["200"] += 4
    WorkerFiles(tmp_path, 1).publish(counters, Plane())  # type: ignore[arg-type]
    assert WorkerFiles(tmp_path, 1).resume() == counters
    assert WorkerFiles(tmp_path, 0).everyone() == (counters, [{"queued": 1.0}])


async def steps(plane: Plane, files: WorkerFiles, changes: list[tuple[str, bool]]) -> None:
    task = asyncio.create_task(keep_in_step(plane, Counters(), files))  # type: ignore[arg-type]
    await asyncio.sleep(0.03)
    for model, unloaded in changes:
        files.mark_unloaded(model, unloaded)
        await asyncio.sleep(0.05)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("failure", [None, UnknownModelError("no such model")])
def test_other_workers_follow_each_change_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: MlopsError | None
) -> None:
    monkeypatch.setattr(worker_files, "STEP_SECONDS", 0.005)
    plane, files = Plane(failure), WorkerFiles(tmp_path)
    asyncio.run(steps(plane, files, [("a", True), ("b", True), ("a", False)]))
    assert plane.calls == ["unload a", "unload b", "load a"]
    assert files.everyone()[1] == [{"queued": 1.0}]
