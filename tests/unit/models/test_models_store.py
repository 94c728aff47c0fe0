"""Model folders on disk: listing, checking, and replacing them whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import file_hashes, read_manifest
from mlops_cli.models.store import check_files, install, model_folders, staging_folder
from tests.fakes.model_folders import model_folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folders_are_those_with_a_manifest_sorted(tmp_path: Path):
    for name in ("red-b", "red-a", "blue-c"):
        model_folder(tmp_path, name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "failures.json").write_text("[]")
    (tmp_path / "manifest.json").write_text("{}")
    assert [folder.name for folder in model_folders(tmp_path)] == ["blue-c", "red-a", "red-b"]


def test_there_is_nothing_in_a_folder_that_does_not_exist(tmp_path: Path):
    assert model_folders(tmp_path / "nowhere") == []


def test_an_untouched_folder_is_as_its_manifest_says(tmp_path: Path):
    folder = model_folder(tmp_path)
    check_files(folder, read_manifest(folder))


def test_every_file_that_differs_is_named(tmp_path: Path):
    folder = model_folder(tmp_path)
    for name in ("gone", "changed", "kept"):
        (folder / name).write_text(name)
    manifest = read_manifest(folder).model_copy(update={"files": file_hashes(folder)})
    (folder / "gone").unlink()
    (folder / "changed").write_text("otherwise")
    (folder / "ludwig").mkdir()
    (folder / "ludwig" / "new").write_text("new")
    with pytest.raises(ModelError) as refusal:
        check_files(folder, manifest)
    assert refusal.value.message == f"{folder}: does not match its manifest: changed, gone, ludwig/new"


def test_one_flipped_bit_of_the_graph_is_found(tmp_path: Path):
    folder = model_folder(tmp_path)
    graph = folder / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"does not match its manifest: model\.onnx\n"):
        check_files(folder, read_manifest(folder))


def test_a_staging_folder_is_empty_and_gone_at_the_end(tmp_path: Path):
    with staging_folder(tmp_path / "staging", "red-a") as one, staging_folder(tmp_path / "staging", "red-a") as two:
        assert one != two
        assert list(one.iterdir()) == []
        (one / "ludwig").mkdir()
        (one / "ludwig" / "file").touch()
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_staging_folder_is_gone_after_a_failure_too(tmp_path: Path):
    def interrupted() -> None:
        with staging_folder(tmp_path, "red-a") as staged:
            (staged / "file").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def staged_model(scratch: Path, origin: Path) -> Path:
    return Path(shutil.copytree(origin, scratch / "staged"))


def test_a_model_is_installed_whole(tmp_path: Path):
    origin = model_folder(tmp_path / "origin")
    expected = contents(origin)
    install(staged_model(tmp_path, origin), tmp_path / "models" / "main" / "red-acme")
    assert contents(tmp_path / "models" / "main" / "red-acme") == expected
    assert not (tmp_path / "staged").exists()


def test_the_old_model_is_replaced_not_mixed(tmp_path: Path):
    destination = model_folder(tmp_path / "models", drift=1.0)
    (destination / "ludwig").mkdir()
    (destination / "ludwig" / "left-over").touch()
    origin = model_folder(tmp_path / "origin", drift=2.0)
    with staging_folder(tmp_path / "scratch", "red-acme") as staged:
        shutil.copytree(origin, staged, dirs_exist_ok=True)
        install(staged, destination)
    assert contents(destination) == contents(origin)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("missing", ["model.onnx", "manifest.json"])
def test_an_incomplete_folder_is_refused_and_the_old_model_stays(tmp_path: Path, missing: str):
    destination = model_folder(tmp_path / "models")
    before = contents(destination)
    staged = staged_model(tmp_path, destination)
    (staged / missing).unlink()
    with pytest.raises(ModelError, match=rf"staged: {missing} was not written"):
        install(staged, destination)
    assert contents(destination) == before
