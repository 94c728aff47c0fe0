"""Live versions: where they lie, how they are installed, and which version they come before."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.store import install
from mlops_cli.models.versions import (
    Champion,
    VersionFolder,
    answering_version,
    archive,
    champion,
    install_live_version,
    judged_as,
    model_versions,
    remove_old_versions,
    write_champion,
)
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import WEIGHTS, model_folder

NAME = "red-acme"
SPRING, SUMMER, AUTUMN = date(2016, 3, 1), date(2016, 6, 1), date(2016, 9, 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def staged(root: Path, number: int, **changes: object) -> Path:
    """A finished model that differs by its intercept."""
    return model_folder(root.parent / f"made-{number}", NAME, linear_graph(WEIGHTS, number / 1000), **changes)


def pipeline(root: Path, number: int, until: date = SPRING, keep: int = 3, **changes: object) -> str:
    folder = staged(root, number, trained_until=until, **changes)
    version = read_manifest(folder).version
    install(folder, root / "main" / NAME, keep)
    return version


def live(root: Path, number: int, until: date = SUMMER, **changes: object) -> str:
    return install_live_version(staged(root, number, trained_until=until, **changes), root, "main", NAME)


def order(root: Path) -> list[str]:
    return [folder.version for folder in model_versions(root, "main", NAME)]


def answers(root: Path, **options: bool) -> str:
    return answering_version(root, "main", NAME, **options).version


def test_a_live_version_comes_first_and_the_pipelines_folder_is_not_touched(root: Path) -> None:
    own = pipeline(root, 1)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (root / "main" / NAME).iterdir())
    new = live(root, 2)
    assert order(root) == [new, own]
    assert answers(root) == new
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in (root / "main" / NAME).iterdir())
    manifest = read_manifest(archive(root, "main", NAME) / new)
    assert (manifest.live, manifest.over) == (True, own)


def test_the_later_trained_of_two_live_versions_comes_first_whenever_it_was_installed(root: Path) -> None:
    own = pipeline(root, 1)
    late, early = live(root, 2, AUTUMN), live(root, 3, SUMMER)
    assert order(root) == [late, early, own]


def test_of_two_live_versions_of_one_day_the_last_installed_comes_first(root: Path) -> None:
    own = pipeline(root, 1)
    first, second = live(root, 2), live(root, 3)
    os.utime(archive(root, "main", NAME) / first, (1, 1))
    assert order(root) == [second, first, own]


def test_a_live_version_that_saw_no_later_close_does_not_come_first(root: Path) -> None:
    own = pipeline(root, 1, SUMMER)
    same_day = live(root, 2, SUMMER)
    assert order(root) == [own, same_day]


def test_another_config_trained_by_the_pipeline_comes_first_until_it_has_a_live_version(root: Path) -> None:
    pipeline(root, 1)
    old = live(root, 2, AUTUMN)
    own = pipeline(root, 3, SPRING, group="fedcba987654")
    assert order(root)[0] == own
    assert old in order(root)[1:]
    new = live(root, 4, AUTUMN, group="fedcba987654")
    assert order(root)[:2] == [new, own]


def test_a_config_that_only_the_live_version_has_comes_first(root: Path) -> None:
    """The config was edited, and `mlops run` has not been called since."""
    own = pipeline(root, 1)
    old = live(root, 2, SUMMER)
    new = live(root, 3, SUMMER, group="fedcba987654")
    os.utime(archive(root, "main", NAME) / old, (1, 1))
    assert order(root) == [new, old, own]


def test_other_inputs_are_another_config(root: Path) -> None:
    pipeline(root, 1)
    live(root, 2, AUTUMN)
    own = pipeline(root, 3, inputs=("return_1", "return_5", "volatility_20"))
    assert order(root)[0] == own


def test_a_model_without_the_pipelines_folder_has_live_versions_only(root: Path) -> None:
    first, second = live(root, 1, SUMMER), live(root, 2, AUTUMN)
    assert order(root) == [second, first]
    assert answers(root) == second
    assert answers(root, live=False) == second
    assert read_manifest(archive(root, "main", NAME) / first).over == ""


def test_while_the_pipeline_trains_the_live_version_answers(root: Path) -> None:
    pipeline(root, 1)
    new = live(root, 2)
    pipeline(root, 3, shrinkage=None, group="fedcba987654")
    assert answers(root) == new


def test_without_live_versions_the_pipelines_version_or_its_pinned_one_answers(root: Path) -> None:
    first, second = pipeline(root, 1), pipeline(root, 2)
    new = live(root, 3)
    assert (answers(root), answers(root, live=False)) == (new, second)
    write_champion(root, "main", NAME, Champion(first, pinned=True))
    assert (answers(root), answers(root, live=False)) == (first, first)
    write_champion(root, "main", NAME, Champion(new, pinned=True))
    assert answers(root, live=False) == second


def test_equal_weights_trained_later_are_the_same_version_with_the_later_manifest(root: Path) -> None:
    """A model without weights has the same graph after every training."""
    own = pipeline(root, 1, SPRING)
    for until in (SUMMER, AUTUMN):
        folder = model_folder(
            root.parent / f"again-{until}", NAME, linear_graph(WEIGHTS, 1 / 1000), trained_until=until
        )
        assert install_live_version(folder, root, "main", NAME) == own
        assert not folder.exists()
        (only,) = model_versions(root, "main", NAME)
        assert (only.version, only.manifest.trained_until) == (own, until)
    remove_old_versions(root, "main", NAME, 1)
    assert model_versions(root, "main", NAME)[0].manifest.trained_until == AUTUMN


def test_the_pipelines_version_with_equal_weights_is_still_there_without_live_versions(root: Path) -> None:
    own = pipeline(root, 1, SPRING)
    folder = model_folder(root.parent / "again", NAME, linear_graph(WEIGHTS, 1 / 1000), trained_until=AUTUMN)
    assert install_live_version(folder, root, "main", NAME) == own
    assert answering_version(root, "main", NAME).manifest.trained_until == AUTUMN
    without = answering_version(root, "main", NAME, live=False)
    assert (without.folder, without.manifest.trained_until) == (root / "main" / NAME, SPRING)


def test_a_damaged_copy_of_the_same_version_is_replaced(root: Path) -> None:
    new = live(root, 1)
    (archive(root, "main", NAME) / new / "model.onnx").unlink()
    assert order(root) == []
    folder = model_folder(root.parent / "again", NAME, linear_graph(WEIGHTS, 1 / 1000), trained_until=AUTUMN)
    assert install_live_version(folder, root, "main", NAME) == new
    assert order(root) == [new]


def test_so_many_versions_are_kept_the_champion_and_the_pipelines_besides(root: Path) -> None:
    own = pipeline(root, 1)
    days = [date(2016, month, 1) for month in range(4, 10)]
    new = [live(root, number, day) for number, day in enumerate(days, start=2)]
    write_champion(root, "main", NAME, Champion(new[0]))
    remove_old_versions(root, "main", NAME, 2)
    assert order(root) == [new[5], new[4], new[0], own]
    assert not [path for path in archive(root, "main", NAME).glob(".*") if path.is_dir()]


def test_the_pipelines_next_version_leaves_live_ones_in_their_place(root: Path) -> None:
    first = pipeline(root, 1)
    new = live(root, 2)
    second = pipeline(root, 3)
    assert order(root) == [new, second, first]


def test_the_first_live_version_of_a_new_model_is_its_champion(root: Path) -> None:
    new = live(root, 1)
    remove_old_versions(root, "main", NAME, 3)
    assert champion(root, "main", NAME) == Champion(new)


def test_a_live_version_has_the_verdict_of_the_pipelines_version_of_its_config(root: Path) -> None:
    own = pipeline(root, 1)
    new, other = live(root, 2), live(root, 3, AUTUMN, group="fedcba987654")
    folders = {folder.version: folder for folder in model_versions(root, "main", NAME)}
    assert {number: judged_as(folder, list(folders.values())) for number, folder in folders.items()} == {
        own: own,
        new: own,
        other: other,
    }


def test_records_of_champions_from_before_say_who_chose_them_or_nobody(root: Path) -> None:
    path = archive(root, "main", NAME) / "champion.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"champion": "a", "pinned": True, "history": ["b"]}))
    record = champion(root, "main", NAME)
    assert record == Champion("a", True, ("b",))
    assert record.pinned_by_hand  # only a person, or the test by skill, could pin it then
    write_champion(root, "main", NAME, record)
    assert json.loads(path.read_text()) == {"champion": "a", "pinned": True, "history": ["b"]}


def test_a_record_is_read_back_as_it_was_written(root: Path) -> None:
    record = Champion("a", True, ("b", "c"), "live", "fresher", refused="d")
    write_champion(root, "main", NAME, record)
    assert champion(root, "main", NAME) == record
    assert not record.pinned_by_hand
    assert not Champion("a", pinned=False, by="hand").pinned_by_hand


def test_an_unknown_chooser_is_a_damaged_record(root: Path) -> None:
    path = archive(root, "main", NAME) / "champion.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"champion": "a", "pinned": True, "history": [], "by": "somebody"}))
    with pytest.raises(ModelError, match="damaged"):
        champion(root, "main", NAME)


def test_manifests_from_before_are_no_live_versions(root: Path) -> None:
    pipeline(root, 1)
    path = root / "main" / NAME / "manifest.json"
    values = json.loads(path.read_text())
    for key in ("live", "over", "settings", "rows"):
        del values[key]
    path.write_text(json.dumps(values))
    manifest = read_manifest(path.parent)
    assert (manifest.live, manifest.over, manifest.settings, manifest.rows) == (False, "", "", "")


def test_a_version_without_others_is_judged_as_itself(root: Path) -> None:
    new = live(root, 1)
    (only,) = model_versions(root, "main", NAME)
    assert judged_as(only, []) == new
    assert isinstance(only, VersionFolder)


def test_a_version_that_is_trained_again_keeps_what_was_noted_of_it(root: Path) -> None:
    """A job has trained it, and then a pass of the same night."""
    new = live(root, 1, facts={"job": "j-1", "epochs": 3})
    again = model_folder(
        root.parent / "again", NAME, linear_graph(WEIGHTS, 1 / 1000), trained_until=AUTUMN, facts={"epochs": 4}
    )
    assert install_live_version(again, root, "main", NAME) == new
    manifest = read_manifest(archive(root, "main", NAME) / new)
    assert (manifest.facts, manifest.trained_until) == ({"job": "j-1", "epochs": 4}, AUTUMN)


@pytest.mark.parametrize(("by", "stays"), [("live", True), ("hand", False)])
def test_the_champion_before_one_that_live_chose_is_kept(root: Path, by: Any, stays: bool) -> None:
    own = pipeline(root, 1)
    gone, earlier, new = (live(root, number, date(2016, 3 + number, 1)) for number in (2, 3, 4))
    write_champion(root, "main", NAME, Champion(new, False, (own, gone, earlier, "removed long ago"), by))
    remove_old_versions(root, "main", NAME, 1)
    assert order(root) == [new, *([earlier] if stays else []), own]
