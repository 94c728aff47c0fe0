"""Model folders into a catalog: what `--models` selects, and what each folder becomes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import GRAPH, MANIFEST
from mlops_cli.models.shared.architectures import same_answers
from mlops_cli.models.shared.weight_files import WeightFiles
from mlops_cli.models.versions import Champion, archive, model_versions, write_champion
from mlops_cli.serving.catalog.catalog import Catalog, ModelKey
from mlops_cli.serving.catalog.load_catalog import CatalogLoader, Selection, select
from tests.fakes.served_projects import BRANCH, install_model, served_project


def loader(root: Path, models: str | None = None, **settings: Any) -> CatalogLoader:
    project = Project.at(root)
    return CatalogLoader(
        project, Serving.model_validate(settings), select(project, models), WeightFiles(root / ".mlops" / "serving")
    )


def scan(root: Path, **settings: Any) -> Catalog:
    return loader(root, **settings).scan()


class Trials:
    """Counts trials, which a function decides."""

    def __init__(self, decide: Callable[..., bool]) -> None:
        self._decide = decide
        self.count = self.rested = 0

    def same_answers(self, *given: Any) -> bool:
        self.count += 1
        return self._decide(*given)

    def rest(self) -> None:
        self.rested += 1


def reasons(catalog: Catalog) -> Mapping[str, str]:
    return {name: entry.reason for name, model in catalog.models.items() for entry in model.quarantined}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return served_project(tmp_path / "p", ["red-a", "blue-b"], hidden=4)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["blue-b", "red-a"]),
        ("red-*", ["red-a"]),
        ("main/red-*", ["red-a"]),
        ("other/*", []),
        ("RED-*", []),
        ("", []),
        ("[br]*-?", ["blue-b", "red-a"]),
    ],
)
def test_a_pattern_selects_by_name_or_by_branch_and_name(root: Path, pattern: str, names: list[str]) -> None:
    assert [key.name for key in Selection(root / "models", pattern).models()] == names


def test_hidden_folders_and_files_are_no_models(root: Path) -> None:
    (root / "models" / ".staging" / "main" / "half").mkdir(parents=True)
    (root / "models" / BRANCH / ".hidden").mkdir()
    (root / "models" / BRANCH / "README.md").touch()
    assert Selection(root / "models").models() == [("main", "blue-b"), ("main", "red-a")]


def test_a_path_outside_the_project_can_be_served(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "models" / BRANCH, tmp_path / "elsewhere" / "team")
    for path, names in (("elsewhere", 2), ("elsewhere/team", 2), ("elsewhere/team/red-a", 1)):
        found = select(Project.at(root), str(tmp_path / path)).models()
        assert (len(found), {key.branch for key in found}) == (names, {"team"})


def test_a_model_with_one_version_answers_with_it(root: Path) -> None:
    model = scan(root).model("red-a")
    assert (model.ticker, model.key, model.route, model.shadow) == ("A", ModelKey("main", "red-a"), None, None)
    assert model.default is model.versions[0]
    assert model.default.sha.startswith(model.default.version)


def test_a_pinned_champion_is_the_default_and_a_plain_one_is_not(root: Path) -> None:
    old = scan(root).model("red-a").versions[0].version
    install_model(root, "red-a", 7, hidden=4)
    for pinned, expected in ((False, 0), (True, 1)):
        write_champion(root / "models", BRANCH, "red-a", Champion(old, pinned, ()))
        model = scan(root).model("red-a")
        assert model.default is model.versions[expected]
    assert model.version(old) is model.versions[1]


def test_routes_and_shadows_of_the_settings(root: Path) -> None:
    old = scan(root).model("red-a").versions[0].version
    install_model(root, "red-a", 7, hidden=4)
    routes = {"red-a": {"champion": 0.5, "challenger": 0.5}}
    model = scan(root, routes=routes, shadow={"red-a": "challenger"}).model("red-a")
    assert model.route is not None
    assert {served.version for served in model.route.versions} == {served.version for served in model.versions}
    assert model.shadow is model.versions[0]
    assert model.default is not None
    assert model.default.version == old, "with a route, the champion is what metadata describes"


def test_verdicts_are_kept_for_versions_that_exist(root: Path) -> None:
    version = scan(root).model("red-a").versions[0].version
    folder = root / "simulation" / "evaluation" / BRANCH
    folder.mkdir(parents=True)
    judged = [
        {"model": name, "version": number, "verdict": "skill"}
        for name, number in [("red-a", version), ("red-a", "gone"), ("blue-b", version)]
    ]
    (folder / "models.json").write_text(json.dumps(judged))
    catalog = scan(root)
    assert catalog.model("red-a").verdicts == {version: "skill"}
    assert catalog.model("blue-b").verdicts == {}


def test_models_of_one_name_get_their_branch_in_front(root: Path) -> None:
    shutil.copytree(root / "models" / BRANCH / "red-a", root / "models" / "other" / "red-a")
    catalog = scan(root)
    assert catalog.names() == ["blue-b", "main/red-a", "other/red-a"]
    assert catalog.ambiguous_names == {"red-a": ["main/red-a", "other/red-a"]}
    assert catalog.models_by_key[ModelKey("other", "red-a")].name == "other/red-a"


def _cut(folder: Path) -> None:
    (folder / GRAPH).write_bytes(b"half")


def _remove_graph(folder: Path) -> None:
    (folder / GRAPH).unlink()


def _damage_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")


def _unfinish(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "shrinkage": None}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_cut, "does not match its manifest"),
        (_remove_graph, "model.onnx is missing"),
        (_damage_manifest, "damaged"),
        (_unfinish, "training was not finished"),
    ],
)
def test_a_broken_folder_is_quarantined_and_the_others_are_served(root: Path, damage: Any, reason: str) -> None:
    damage(root / "models" / BRANCH / "red-a")
    catalog = scan(root)
    assert reason in reasons(catalog)["red-a"]
    assert catalog.model("red-a").default is None
    assert catalog.model("blue-b").default is not None


@pytest.mark.parametrize("damage", [_remove_graph, _damage_manifest, _cut])
def test_an_earlier_version_answers_for_a_broken_one_which_is_listed(root: Path, damage: Any) -> None:
    old = scan(root).model("red-a").versions[0].version
    install_model(root, "red-a", 7, hidden=4)
    damage(root / "models" / BRANCH / "red-a")
    model = scan(root).model("red-a")
    assert model.default is not None
    assert model.default.version == old
    assert len(model.quarantined) == 1


def test_a_model_in_training_is_no_fault_while_an_earlier_version_answers(root: Path) -> None:
    install_model(root, "red-a", 7, hidden=4)
    _unfinish(root / "models" / BRANCH / "red-a")
    assert scan(root).model("red-a").quarantined == ()


def test_a_damaged_record_of_the_champion_is_listed_and_the_newest_answers(root: Path) -> None:
    (archive(root / "models", BRANCH, "red-a") / "champion.json").write_text("{")
    model = scan(root).model("red-a")
    assert [entry.version for entry in model.quarantined] == ["champion"]
    assert model.default is model.versions[0]


def test_only_touched_models_are_read_again(root: Path) -> None:
    reader = loader(root)
    before = reader.scan()
    for name in ("red-a", "blue-b"):
        install_model(root, name, 7 + len(name), hidden=4)
    after = reader.scan([ModelKey("main", "red-a"), ModelKey("main", "nothing")])
    assert len(after.model("red-a").versions) == 2
    assert after.model("blue-b").versions == before.model("blue-b").versions
    assert len(reader.scan().model("blue-b").versions) == 2


def test_a_removed_model_leaves_the_catalog(root: Path) -> None:
    reader = loader(root)
    shas = len((reader.scan(), reader.shas())[1])
    shutil.rmtree(root / "models" / BRANCH / "red-a")
    shutil.rmtree(archive(root / "models", BRANCH, "red-a"), ignore_errors=True)
    assert reader.scan([ModelKey("main", "red-a")]).names() == ["blue-b"]
    assert len(reader.shas()) == shas - 1
    shutil.rmtree(root / "models" / BRANCH / "blue-b")
    assert reader.scan().names() == []


def test_touched_models_that_are_not_selected_are_ignored(root: Path) -> None:
    reader = loader(root, "red-*")
    reader.scan()
    assert reader.scan([ModelKey("main", "blue-b")]).names() == ["red-a"]
    assert model_versions(root / "models", BRANCH, "blue-b"), "it exists all the same"


def _renamed(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest, "name": "red-a"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [(dict, "it holds the model blue-b"), (_renamed, "its manifest says ticker B, which is not that of red-a")],
)
def test_a_folder_with_the_model_of_another_stock_is_set_aside(root: Path, change: Any, reason: str) -> None:
    folder = root / "models" / BRANCH / "red-a"
    shutil.rmtree(folder)
    shutil.copytree(root / "models" / BRANCH / "blue-b", folder)
    (folder / MANIFEST).write_text(json.dumps(change(json.loads((folder / MANIFEST).read_text()))))
    catalog = scan(root)
    assert reason in reasons(catalog)["red-a"]
    assert catalog.model("red-a").default is None
    assert catalog.model("blue-b").default is not None


@pytest.mark.parametrize(("branch", "served"), [("", True), (BRANCH, True), ("other", False)])
def test_a_model_of_another_branch_is_set_aside_and_one_from_before_branches_were_noted_is_not(
    root: Path, branch: str, served: bool
) -> None:
    path = root / "models" / BRANCH / "red-a" / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "branch": branch}))
    catalog = scan(root)
    assert (catalog.model("red-a").default is not None) is served
    assert served or "it was trained in branch other" in reasons(catalog)["red-a"]


def test_an_archived_version_of_another_model_or_name_is_set_aside(root: Path) -> None:
    old = scan(root).model("red-a").versions[0].version
    install_model(root, "red-a", 7, hidden=4)
    place = archive(root / "models", BRANCH, "red-a")
    (place / old).rename(place / "0123456789ab")
    shutil.copytree(root / "models" / BRANCH / "blue-b", place / "ba9876543210")
    model = scan(root).model("red-a")
    assert len(model.versions) == 1
    found = {entry.reason.partition(": ")[2] for entry in model.quarantined}
    assert found == {
        f"it holds the version {old} (its manifest says so)",
        "it holds the model blue-b (its manifest says so)",
    }


def test_a_branch_may_have_the_name_of_its_model(root: Path) -> None:
    shutil.move(root / "models" / BRANCH / "red-a", root / "models" / "red-a" / "red-a")
    assert scan(root).model("red-a").default is not None


def test_a_graph_that_must_be_tried_answers_after_its_trial_and_the_old_one_until_then(root: Path) -> None:
    trials = Trials(same_answers)
    project = Project.at(root)
    files = WeightFiles(root / ".mlops" / "serving", trials)
    reader = CatalogLoader(project, Serving(), select(project, None), files)
    assert {entry.reason for name in ("red-a", "blue-b") for entry in reader.scan().model(name).quarantined} == {
        "its graph is being tried for the first time"
    }
    assert trials.count == 0
    reader.try_graphs(set(reader.untried))
    assert (trials.count, trials.rested) == (1, 1), "models of one architecture need one trial"
    before = reader.scan()
    assert not reader.untried
    install_model(root, "red-a", 7, hidden=5)
    after = reader.scan([ModelKey(BRANCH, "red-a")])
    assert after.model("red-a").versions == before.model("red-a").versions
    assert reader.untried == {ModelKey(BRANCH, "red-a")}
    reader.try_graphs(set(reader.untried))
    assert len(reader.scan([ModelKey(BRANCH, "red-a")]).model("red-a").versions) == 2


def test_a_graph_that_failed_its_trial_is_not_tried_at_every_scan(root: Path) -> None:
    def fail(*_: Any) -> bool:
        raise ModelError("the graph did not finish a trial")

    trials = Trials(fail)
    project = Project.at(root)
    files = WeightFiles(root / ".mlops" / "serving", trials)
    reader = CatalogLoader(project, Serving(), select(project, "red-a"), files)
    reader.scan()
    for _ in range(3):
        reader.try_graphs(set(reader.untried))
        assert reasons(reader.scan()) == {"red-a": "the graph did not finish a trial"}
    assert trials.count == 1
    files.forget_failures()
    reader.scan()
    reader.try_graphs(set(reader.untried))
    assert trials.count == 2


def test_weights_that_cannot_be_written_are_no_fault_of_the_model_and_are_tried_again(root: Path) -> None:
    reader = loader(root)
    folder = root / ".mlops" / "serving"
    shutil.rmtree(folder)
    folder.write_text("in the way, as a full disk would be")
    catalog = reader.scan()
    assert reader.blocked == {ModelKey(BRANCH, "red-a"), ModelKey(BRANCH, "blue-b")}
    (entry,) = catalog.model("red-a").quarantined
    assert "cannot be written" in entry.reason
    assert "train" not in entry.hint
    folder.unlink()
    assert reader.scan(set(reader.blocked)).model("red-a").default is not None
    assert not reader.blocked
    shutil.rmtree(folder)
    folder.write_text("in the way again")
    install_model(root, "red-a", 7, hidden=4)
    model = reader.scan([ModelKey(BRANCH, "red-a")]).model("red-a")
    assert model.default is not None, "the version from before answers, from memory"
    assert "cannot be written" in model.quarantined[0].reason


@pytest.mark.parametrize("name", [MANIFEST, GRAPH, "champion.json"])
def test_a_pipe_in_place_of_a_file_holds_nobody_up(root: Path, name: str) -> None:
    place = archive(root / "models", BRANCH, "red-a") if name == "champion.json" else root / "models" / BRANCH / "red-a"
    (place / name).unlink()
    os.mkfifo(place / name)
    catalog = scan(root)
    assert reasons(catalog)["red-a"]
    assert catalog.model("blue-b").default is not None


def requested(root: Path, name: str, seed: int = 9) -> Path:
    """Move a model that was just installed to where workers of the job queue install: the archive of `requested`."""
    install_model(root, name, seed, hidden=4)
    folder = root / "models" / BRANCH / name
    (version,) = [found for found in model_versions(root / "models", BRANCH, name) if found.folder == folder]
    place = archive(root / "models", "requested", name) / version.version
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, place)
    return place


def test_a_requested_model_is_served_and_found_by_the_scan_of_its_folder_alone(root: Path) -> None:
    reader = loader(root)
    assert "red-nvda" not in reader.scan().models
    place = requested(root, "red-nvda")
    catalog = reader.scan([ModelKey("requested", "red-nvda")])
    assert catalog.models["red-nvda"].branch == "requested"
    assert [version.version for version in catalog.models["red-nvda"].versions] == [place.name]
    assert "red-a" in catalog.models


def test_a_model_of_another_branch_hides_a_requested_one_of_its_name(root: Path) -> None:
    requested(root, "red-a")
    install_model(root, "red-a", 3, hidden=4)
    catalog = scan(root)
    assert catalog.models["red-a"].branch == BRANCH
    assert catalog.ambiguous_names == {}
    assert len(catalog.models) == len(catalog.models_by_key) == 2
