"""The live catalog: models in memory stay warm while their folders change."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.models.manifest import GRAPH
from mlops_cli.models.shared.weight_files import WeightFiles
from mlops_cli.serving.catalog import live_catalog
from mlops_cli.serving.catalog.catalog import ModelKey
from mlops_cli.serving.catalog.live_catalog import LiveCatalog
from mlops_cli.serving.catalog.load_catalog import CatalogLoader, select
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.catalog.metadata import why_none_answers
from tests.fakes.served_projects import BRANCH, install_model, served_project


class Parts:
    """A live catalog and the memory that it keeps."""

    def __init__(self, root: Path, executor: ThreadPoolExecutor, settings: Serving) -> None:
        project, files = Project.at(root), WeightFiles(root / ".mlops" / "serving")
        self.loaded = LoadedModels(files, 10**9, executor)
        self.live = LiveCatalog(
            settings, CatalogLoader(project, settings, select(project, None), files), self.loaded, executor
        )

    def resident(self) -> list[str]:
        """Names of models whose default version is in memory."""
        models = self.live.catalog.models.items()
        return sorted(name for name, model in models if model.default and model.default.sha in self.loaded)


def run(root: Path, work: Callable[[Parts], Awaitable[None]], **settings: Any) -> None:
    async def whole() -> None:
        with ThreadPoolExecutor(1) as executor:
            await work(Parts(root, executor, Serving.model_validate(settings)))

    asyncio.run(whole())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return served_project(tmp_path / "p", ["red-a", "red-b", "blue-a"], hidden=4)


def test_pinned_and_prewarmed_models_are_loaded_at_the_first_scan_only(root: Path) -> None:
    async def work(parts: Parts) -> None:
        assert parts.live.catalog.names() == []
        await parts.live.rescan(None)
        assert parts.resident() == ["blue-a", "red-b"]
        assert len(parts.loaded.pinned) == 1
        for model in parts.live.catalog.models.values():
            assert model.default is not None
            parts.loaded.drop(model.default.sha)
        await parts.live.rescan(None)
        assert parts.resident() == ["blue-a"], "prewarming is for the start, a pin for ever"

    run(root, work, pinned=["blue-*"], prewarm=["*-b"])


def test_a_new_version_of_a_model_in_memory_is_loaded_before_it_answers(root: Path) -> None:
    async def work(parts: Parts) -> None:
        await parts.live.rescan(None)
        model = parts.live.catalog.model("red-a")
        assert model.default is not None
        await parts.loaded.load(model.default)
        held = parts.live.catalog
        for name in ("red-a", "red-b"):
            install_model(root, name, 50 + ord(name[-1]), hidden=4)
        await parts.live.rescan([ModelKey(BRANCH, "red-a"), ModelKey(BRANCH, "red-b")])
        assert parts.resident() == ["red-a"]
        assert held.model("red-a") is model, "a request that holds the old catalog finishes on it"
        assert parts.live.catalog.model("red-a").default is not model.default

    run(root, work)


def test_a_broken_new_version_does_not_stop_the_others(root: Path) -> None:
    async def work(parts: Parts) -> None:
        await parts.live.rescan(None)
        (root / "models" / BRANCH / "red-a" / GRAPH).write_bytes(b"half")
        for path in (root / ".mlops" / "serving").glob("*.weights"):
            path.unlink()
        await parts.live.rescan(None)
        assert parts.live.catalog.model("red-a").default is None
        assert parts.resident() == ["blue-a", "red-b"]

    run(root, work, pinned=["*"])


def test_two_scans_at_once_come_one_after_the_other(root: Path) -> None:
    async def work(parts: Parts) -> None:
        install_model(root, "red-new", 9, hidden=4)
        await asyncio.gather(*[parts.live.rescan(None) for _ in range(5)])
        assert len(parts.live.catalog.names()) == 4

    run(root, work)


def test_what_a_full_disk_kept_from_being_served_is_served_once_there_is_room(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_catalog, "RETRY_SECONDS", 0.02)

    async def work(parts: Parts) -> None:
        folder = root / ".mlops" / "serving"
        shutil.rmtree(folder)
        folder.write_text("in the way, as a full disk would be")
        await parts.live.rescan(None)
        reason = why_none_answers(parts.live.catalog, (), {})
        assert reason.startswith("no model answers: its weights cannot be written")
        folder.unlink()
        async with asyncio.timeout(10):
            while why_none_answers(parts.live.catalog, (), {}):
                await asyncio.sleep(0.01)
        assert parts.live.catalog.model("red-a").default is not None
        await parts.live.stop()

    run(root, work)


def test_weights_of_replaced_versions_are_removed_after_a_while(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(parts: Parts) -> None:
        def weights() -> int:
            return len(list((root / ".mlops" / "serving").glob("*.weights")))

        await parts.live.rescan(None)
        for seed in range(20, 26):
            install_model(root, "red-a", seed, hidden=4)  # two versions of it are kept
            await parts.live.rescan([ModelKey(BRANCH, "red-a")])
        assert weights() == 3 + 6, "other workers may still load them"
        monkeypatch.setattr(live_catalog, "UNUSED_SECONDS", 0.0)
        await parts.live.rescan(None)
        needed = {version.sha for model in parts.live.catalog.models.values() for version in model.versions}
        assert weights() == len(needed) < 3 + 6

    run(root, work)
