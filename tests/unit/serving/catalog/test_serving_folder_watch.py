"""Changed folders are noticed, whatever they are called and whenever they come to be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mlops_cli.serving.catalog import folder_watch
from mlops_cli.serving.catalog.folder_watch import changes, new_tables, touched

ROOT = Path("/p/models")


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("main/red-a", {("main", "red-a")}),
        ("main/red-a/ludwig/weights", {("main", "red-a")}),
        (".versions/main/red-a/0123/model.onnx", {("main", "red-a")}),
        (".staging/main/red-a-1/model.onnx", set()),
        ("main/.DS_Store", set()),
        ("main", None),
        ("", None),
        ("../data/features/main/red-a.parquet", set()),
    ],
)
def test_what_a_changed_path_is_part_of(path: str, places: set[tuple[str, str]] | None) -> None:
    parts = Path("/p/data/features/main/red-a.parquet") if path.startswith("..") else ROOT / path
    assert touched({parts}, ROOT) == places


def test_new_tables_are_parquet_files_of_the_features() -> None:
    features = Path("/p/data/features")
    assert new_tables({features / "main" / "a.parquet"}, features)
    assert not new_tables({features / "main" / "a.json", ROOT / "a.parquet"}, features)
    assert not new_tables(None, features)


def test_folders_that_come_later_are_watched_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_watch, "_AGAIN", 0.2)
    models, features = tmp_path / "models", tmp_path / "features"

    async def work() -> None:
        stop = asyncio.Event()
        found = changes([models, features], stop)
        assert await anext(found) is None  # nothing to watch: all is read now and then
        models.mkdir()
        while (paths := await anext(found)) is None:
            (models / "one").mkdir(exist_ok=True)
        assert models / "one" in paths
        features.mkdir()
        assert await anext(found) is None
        (features / "table.parquet").touch()
        while (paths := await anext(found)) is None or features / "table.parquet" not in paths:
            pass
        stop.set()
        assert await anext(found, "end") == "end"

    asyncio.run(asyncio.wait_for(work(), 20))
