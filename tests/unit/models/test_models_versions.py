"""Earlier versions of a model: kept when it is replaced, in order, as many as asked for, the champion always."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.predict import Model
from mlops_cli.models.store import install, model_folders
from mlops_cli.models.versions import (
    Champion,
    answering_version,
    archive,
    archives,
    champion,
    model_versions,
    write_champion,
)
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import WEIGHTS, model_folder

NAME = "red-acme"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def put(root: Path, number: int, keep: int | None = 3, **changes: object) -> str:
    """Install a model that differs by its intercept; its version."""
    made = model_folder(root.parent / "made", NAME, linear_graph(WEIGHTS, number / 1000), **changes)
    version = read_manifest(made).version
    install(made, root / "main" / NAME, keep)
    return version


def versions(root: Path) -> list[str]:
    return [one.version for one in model_versions(root, "main", NAME)]


def test_a_model_nobody_trained_has_no_versions_and_no_champion(root: Path):
    assert model_versions(root, "main", NAME) == []
    assert champion(root, "main", NAME) == Champion(None, False, ())
    assert archives(root / "main") == []


def test_versions_come_newest_first_and_each_forecasts(root: Path):
    put_in = [put(root, number) for number in (1, 2, 3)]
    assert versions(root) == put_in[::-1]
    found = model_versions(root, "main", NAME)
    assert found[0].folder == root / "main" / NAME
    assert [one.folder for one in found[1:]] == [archive(root, "main", NAME) / v for v in put_in[1::-1]]
    table = {name: [0.0] for name in found[0].manifest.inputs}
    forecasts = [Model.open(one.folder).log_returns(pd.DataFrame(table))[0][0] for one in found]
    np.testing.assert_allclose(forecasts, [0.003, 0.002, 0.001], rtol=1e-6)


def test_the_first_finished_version_is_the_champion_and_stays_it(root: Path):
    first = put(root, 1)
    assert champion(root, "main", NAME) == Champion(first, pinned=False)
    put(root, 2)
    assert champion(root, "main", NAME) == Champion(first, pinned=False)


def test_no_more_than_asked_for_are_kept_but_the_champion_is(root: Path):
    put_in = [put(root, number) for number in range(1, 7)]
    assert versions(root) == [*put_in[:3:-1], put_in[3], put_in[0]]
    write_champion(root, "main", NAME, Champion(put_in[4], pinned=True, history=(put_in[0],)))
    seventh = put(root, 7, keep=1)
    assert versions(root) == [seventh, put_in[4]]


def test_an_unfinished_model_is_no_version_and_drops_none(root: Path):
    put_in = [put(root, number) for number in (1, 2)]
    put(root, 3, keep=1, shrinkage=None)
    assert versions(root) == put_in[::-1]  # the newest finished one answers meanwhile
    finished = put(root, 4, keep=2)
    assert versions(root) == [finished, put_in[1], put_in[0]]  # the first is the champion
    assert not list((root / ".versions").rglob("*.old"))


def test_the_same_weights_again_are_one_version(root: Path):
    first = put(root, 1)
    second = put(root, 2)
    assert put(root, 1) == first
    assert versions(root) == [first, second]
    assert not (archive(root, "main", NAME) / first).exists()


def test_what_cannot_be_read_is_passed_over(root: Path):
    first, second, third = (put(root, number) for number in (1, 2, 3))
    (archive(root, "main", NAME) / first / "manifest.json").write_text("{")
    (archive(root, "main", NAME) / second / "model.onnx").unlink()
    assert versions(root) == [third]
    shutil.rmtree(root / "main" / NAME)
    assert versions(root) == []


def test_a_damaged_model_is_not_kept(root: Path):
    put(root, 1)
    (root / "main" / NAME / "model.onnx").write_bytes(b"half")
    second = put(root, 2)
    assert versions(root) == [second]


def test_what_a_killed_process_was_removing_is_out_of_sight_and_goes(root: Path):
    first, second = put(root, 1), put(root, 2)
    half = Path(shutil.copytree(archive(root, "main", NAME) / first, archive(root, "main", NAME) / f".{first}.0"))
    assert versions(root) == [second, first]
    put(root, 3, keep=1)
    put(root, 4, keep=1)
    assert not half.exists()


def test_without_keeping_nothing_is_archived(root: Path):
    put(root, 1, keep=None)
    put(root, 2, keep=None)
    assert not (root / ".versions").exists()


def test_a_kill_between_the_two_renames_leaves_the_old_version(root: Path, monkeypatch: pytest.MonkeyPatch):
    first = put(root, 1)
    rename = os.rename

    def dies(source: Path, destination: Path) -> None:
        if Path(source).parent.name == "made":
            raise KeyboardInterrupt
        rename(source, destination)

    monkeypatch.setattr(os, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        put(root, 2)
    monkeypatch.undo()
    assert versions(root) == [first]
    assert model_folders(root / "main") == []
    shutil.rmtree(root.parent / "made")
    third = put(root, 3)
    assert versions(root) == [third, first]


def test_a_damaged_record_of_the_champion_is_said(root: Path):
    put(root, 1)
    (archive(root, "main", NAME) / "champion.json").write_text('{"champion"')
    with pytest.raises(ModelError, match=r"champion\.json: damaged\nremove it"):
        champion(root, "main", NAME)


def test_a_record_remembers_those_before_it():
    record = Champion().followed_by("a", pinned=False).followed_by("b", pinned=True)
    assert record == Champion("b", True, ("a",))
    assert record.followed_by("b", pinned=False) == Champion("b", False, ("a",))


def test_the_newest_answers_unless_a_champion_is_pinned(root: Path):
    with pytest.raises(ModelError, match="mlops run"):
        answering_version(root, "main", NAME)
    first, second = put(root, 1), put(root, 2)
    assert answering_version(root, "main", NAME).version == second
    write_champion(root, "main", NAME, Champion(first, True, ()))
    assert answering_version(root, "main", NAME).version == first
    write_champion(root, "main", NAME, Champion("gone", True, ()))
    assert answering_version(root, "main", NAME).version == second
