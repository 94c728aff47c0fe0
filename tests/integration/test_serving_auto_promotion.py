"""A server that promotes by itself: new sessions come in, the nearer version becomes champion and takes its share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from mlops_cli.config.schemas.serving import Serving
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.store import install
from mlops_cli.models.versions import champion
from mlops_cli.serving import auto_promotion
from mlops_cli.serving.auto_promotion import AutoPromotion
from mlops_cli.serving.contract.messages import Query
from mlops_cli.serving.data_plane import DataPlane
from tests.fakes.known_closes import know_the_closes
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import model_folder
from tests.fakes.projects import SmallProject, small_project

NAME = "red-aaa"


def versions_with_known_closes(small: SmallProject) -> tuple[str, str]:
    """Two versions of one model: the first forecasts no change, the second most of what will come."""
    know_the_closes(small, NAME)
    made = []
    for share in (0.0, 0.9):
        graph = linear_graph(np.array([share]), 0.0)
        until = pd.Timestamp("2017-05-31").date()
        folder = model_folder(small.root / "made", NAME, graph, inputs=("actual",), ticker="AAA", trained_until=until)
        made.append(read_manifest(folder).version)
        install(folder, small.project.models("main") / NAME, 3)
    return made[0], made[1]


async def eventually(seconds: float, what: Callable[[], bool]) -> None:
    for _ in range(int(seconds / 0.1)):
        if what():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come about")


def test_the_nearer_version_is_promoted_when_new_sessions_come_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_promotion, "_QUIET", 0.2)
    small = small_project(tmp_path / "p", ["AAA"])
    first, second = versions_with_known_closes(small)
    root = small.project.model_root
    settings = Serving.model_validate({"promotion": {"auto": True}, "routes": {NAME: {"champion": 1.0}}})
    row = np.ones((1, 1), dtype=np.float32)

    async def work() -> None:
        plane = DataPlane(small.project, settings)
        await plane.start()
        assert (await plane.infer(Query(NAME, row))).version == first
        path = small.project.features("main") / f"{NAME}.parquet"
        pd.read_parquet(path).to_parquet(path)
        await eventually(60, lambda: champion(root, "main", NAME).version == second)
        for _ in range(100):
            if (await plane.infer(Query(NAME, row))).version == second:
                break
            await asyncio.sleep(0.1)
        assert (await plane.infer(Query(NAME, row))).version == second
        await plane.stop()

    asyncio.run(work())


def test_one_worker_promotes_for_all_and_a_failure_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(auto_promotion, "_QUIET", 0.01)
    small = small_project(tmp_path / "p", ["AAA"])
    small.config("broken", "team: [")
    lock = tmp_path / "lock"

    async def work() -> None:
        promotion = AutoPromotion(small.project, lock)
        with FileLock(lock):
            promotion.features_changed()
            await asyncio.sleep(0.5)
        assert not caplog.messages
        promotion.features_changed()
        await eventually(60, lambda: bool(caplog.messages))
        assert "promotion by skill failed" in caplog.messages[0]
        await promotion.stop()

    asyncio.run(work())
