"""Reads model folders into a catalog. A broken model is quarantined with the reason; all others are served."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED
from mlops_cli.config.schemas.project import slug
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.errors import ModelError
from mlops_cli.evaluation.verdicts import verdicts
from mlops_cli.models.manifest import GRAPH, MANIFEST, Manifest, read_manifest
from mlops_cli.models.shared.weight_files import UntriedError, WeightFiles
from mlops_cli.models.versions import ARCHIVE, Champion, VersionFolder, champion, judged_as, model_versions
from mlops_cli.serving.catalog.catalog import Catalog, ModelKey, ServedModel, route, version_for_role
from mlops_cli.serving.catalog.ensembles import ensembles
from mlops_cli.serving.contract.messages import IndexEntry, ServedVersion

_SETTLING = 0.1  # seconds
_BLOCKED_HINT = "make room on the disk; the server tries again every few seconds"


@dataclass(frozen=True)
class Selection:
    """Which model folders of `root` are served: `pattern` is a glob over `<branch>/<model>` or `<model>`."""

    root: Path
    pattern: str = "*"

    def holds(self, key: ModelKey) -> bool:
        """Whether a model is selected."""
        return fnmatchcase("/".join(key), self.pattern) or fnmatchcase(key.name, self.pattern)

    def models(self) -> list[ModelKey]:
        """Every selected model that has a folder or an archive, sorted."""
        existing = {
            ModelKey(folder.parent.name, folder.name)
            for root in (self.root, self.root / ARCHIVE)
            for folder in root.glob("[!.]*/[!.]*")
            if folder.is_dir()
        }
        return sorted(key for key in existing if self.holds(key))


def select(project: Project, models: str | None) -> Selection:
    """The model folders that `--models` selects; None: every model of the project.

    `models` is a model folder, a branch's folder or a folder of branches, a glob over model names (`red-*`,
    `main/red-*`) or over folders of `models/`.
    """
    root = project.model_root
    if models is None:
        return Selection(root)
    path = project.root / models
    if path.is_dir():
        path = path.resolve()
        if (path / MANIFEST).is_file():
            return Selection(path.parents[1], f"{path.parent.name}/{path.name}")
        if any(path.glob(f"*/{MANIFEST}")):
            return Selection(path.parent, f"{path.name}/*")
        return Selection(path)
    return Selection(root, models.removeprefix(f"{root}/").removeprefix("models/"))


@dataclass(frozen=True)
class ModelOnDisk:
    """The versions of a model on disk.

    Attributes:
        versions: whole ones, newest first, with their weight files.
        quarantined: the others, each with its reason.
        untried: one of them has a graph that must be tried before it can be served.
        blocked: one of them could not be read or prepared for a reason that may pass, such as a full disk.
        judged_as: by version, the version whose verdict counts for it.
    """

    versions: tuple[ServedVersion, ...]
    quarantined: tuple[IndexEntry, ...]
    champion: Champion
    untried: bool = False
    blocked: bool = False
    judged_as: Mapping[str, str] = field(default_factory=dict)


class CatalogLoader:
    """Reads model folders. Its methods read files for milliseconds per model: call them outside the event loop.

    Attributes:
        untried: models with a graph that `try_graphs` must try before it can be served.
        blocked: models that could not be read or prepared for a reason that may pass, such as a full disk.
    """

    def __init__(self, project: Project, settings: Serving, selection: Selection, files: WeightFiles) -> None:
        """Read the models of `selection`, and write their weights to `files`."""
        self._project = project
        self._settings = settings
        self._selection = selection
        self._files = files
        self._models: dict[ModelKey, ModelOnDisk] = {}
        self._try_until = 0.0
        self.untried: set[ModelKey] = set()
        self.blocked: set[ModelKey] = set()

    def scan(self, touched: Iterable[ModelKey] | None = None, trial_seconds: float = 0.0) -> Catalog:
        """Read the folders of the `touched` models (None: of all) again and build the catalog.

        Graphs that must be tried first are tried while `trial_seconds` have not passed. A version whose graph was not
        tried is left out until `try_graphs` has done so; meanwhile the versions from before answer.
        """
        self._try_until = time.monotonic() + trial_seconds
        if touched is None:
            keys = self._selection.models()
            self._models = {key: self._models[key] for key in self._models.keys() & set(keys)}
            self.untried.clear()
            self.blocked.clear()
        else:
            keys = [key for key in touched if self._selection.holds(key)]
        for key in keys:
            model = self._read(key)
            if not model.versions and key in self._models:
                time.sleep(_SETTLING)  # perhaps read between the two renames of an installation
                model = self._read(key)
            self._keep(key, model)
        if trial_seconds:
            self._files.end_trials()
        return self._catalog()

    def _keep(self, key: ModelKey, model: ModelOnDisk) -> None:
        for marked, is_so in ((self.untried, model.untried), (self.blocked, model.blocked)):
            (marked.add if is_so else marked.discard)(key)
        model = _until_it_answers(model, self._models.get(key))
        if model.versions or model.quarantined:
            self._models[key] = model
        else:
            self._models.pop(key, None)

    def try_graphs(self, models: Iterable[ModelKey]) -> None:
        """Try the new graphs of these models, which may take seconds. The next scan then knows what came of it."""
        for key in models:
            for finished in model_versions(self._selection.root, *key):
                with contextlib.suppress(ModelError, OSError):
                    self._prepare(finished, may_try=True)
        self._files.end_trials()

    def remove_unused(self, seconds: float) -> None:
        """Remove the weights of versions that were served, and have not been for this many seconds."""
        self._files.remove_unused(self.shas(), seconds)

    def shas(self) -> set[str]:
        """Hashes of the graphs of all versions that can be served."""
        return {version.sha for model in self._models.values() for version in model.versions}

    def _read(self, key: ModelKey) -> ModelOnDisk:
        root = self._selection.root
        versions, quarantined = [], []
        untried = blocked = False
        folders = model_versions(root, *key)
        for finished in folders:
            try:
                _check_place(finished, key, archived=finished.folder != root.joinpath(*key))
                versions.append(self._served(finished))
            except ModelError as error:
                untried = untried or isinstance(error, UntriedError)
                quarantined.append(IndexEntry(key.name, finished.version, "QUARANTINED", error.message, error.hint))
            except OSError as error:  # such as a full disk under the weight files
                blocked = True
                text = f"its weights cannot be written to {self._files.folder}: {error.strerror}"
                quarantined.append(IndexEntry(key.name, finished.version, "QUARANTINED", text, _BLOCKED_HINT))
        try:
            record = champion(root, *key)
        except ModelError as error:
            record = Champion()
            quarantined.append(IndexEntry(key.name, "champion", "QUARANTINED", error.message))
        newest = root.joinpath(*key)
        reason = "" if any(finished.folder == newest for finished in folders) else _unfinished(newest, bool(versions))
        if reason:
            quarantined.append(IndexEntry(key.name, "", "QUARANTINED", reason))
        judged = {finished.version: judged_as(finished, folders) for finished in folders}
        return ModelOnDisk(tuple(versions), tuple(quarantined), record, untried, blocked, judged)

    def _served(self, finished: VersionFolder) -> ServedVersion:
        manifest = finished.manifest
        self._prepare(finished, may_try=time.monotonic() < self._try_until)
        return ServedVersion(
            version=finished.version,
            sha=manifest.files.get(GRAPH, ""),
            folder=finished.folder,
            inputs=manifest.inputs,
            ticker=manifest.ticker,
            team=manifest.team,
            trained_until=manifest.trained_until,
            shrinkage=manifest.shrinkage or 0.0,
            small=manifest.small,
            levels=manifest.levels,
            exchange=manifest.exchange,
        )

    def _prepare(self, finished: VersionFolder, may_try: bool) -> None:
        manifest = finished.manifest
        self._files.prepare(finished.folder, manifest.files.get(GRAPH, ""), len(manifest.inputs), may_try)

    def _catalog(self) -> Catalog:
        models_on_disk, branches_of = self._without_replaced()
        judged = {
            branch: verdicts(self._project.evaluation(branch)) for branch in {key.branch for key in models_on_disk}
        }
        folders = {}
        for key, model in models_on_disk.items():
            served_as = key.name if len(branches_of[key.name]) == 1 else "/".join(key)
            folders[key] = self._served_model(served_as, key, model, judged[key.branch])
        shared = {
            name: sorted(f"{branch}/{name}" for branch in branches)
            for name, branches in branches_of.items()
            if len(branches) > 1
        }
        models = {model.name: model for model in folders.values()}
        return Catalog(models, shared, folders, ensembles(self._project, self._settings.ensembles, models))

    def _without_replaced(self) -> tuple[dict[ModelKey, ModelOnDisk], dict[str, list[str]]]:
        """The models, and by name the branches that have one; without requested models that another branch has too."""
        branches: dict[str, list[str]] = {}
        for key in self._models:
            branches.setdefault(key.name, []).append(key.branch)
        for owners in branches.values():
            if len(owners) > 1 and REQUESTED in owners:
                owners.remove(REQUESTED)
        return {key: model for key, model in self._models.items() if key.branch in branches[key.name]}, branches

    def _served_model(
        self, served_as: str, key: ModelKey, model: ModelOnDisk, judged: Mapping[tuple[str, str], str]
    ) -> ServedModel:
        quarantined = tuple(replace(entry, name=served_as) for entry in model.quarantined)
        versions, record = model.versions, model.champion
        if not versions:
            return ServedModel(served_as, *key, versions, quarantined)
        weights, shadow = self._settings.routes.get(key.name), self._settings.shadow.get(key.name)
        accepted = version_for_role("champion", versions, record.version)
        verdict_on = {version.version: (key.name, model.judged_as[version.version]) for version in versions}
        return ServedModel(
            served_as,
            *key,
            versions,
            quarantined,
            default=accepted if weights or record.pinned else versions[0],
            route=route(served_as, weights or {}, versions, record.version),
            shadow=version_for_role(shadow, versions, record.version) if shadow else None,
            verdicts={number: judged[on] for number, on in verdict_on.items() if on in judged},
        )


def _until_it_answers(model: ModelOnDisk, before: ModelOnDisk | None) -> ModelOnDisk:
    """The model, or as it was before while its new version is untried or cannot be prepared."""
    if before is None or not before.versions:
        return model
    if model.untried or (model.blocked and not model.versions):
        return replace(before, quarantined=model.quarantined if model.blocked else ())
    return model


def _check_place(finished: VersionFolder, key: ModelKey, archived: bool) -> None:
    """Refuse a folder that holds another model than its place says, so that no caller gets another stock's forecast.

    Raises:
        ModelError: says what the folder holds.
    """
    manifest, folder = finished.manifest, finished.folder
    hint = f"put the right folder there, or remove it and run: mlops train {key.name}"
    if manifest.name != key.name:
        raise ModelError(f"{folder}: it holds the model {manifest.name} (its manifest says so)", hint)
    if not _is_named_after(manifest):
        raise ModelError(f"{folder}: its manifest says ticker {manifest.ticker}, which is not that of {key.name}", hint)
    if manifest.branch and key.branch and manifest.branch != key.branch:
        raise ModelError(f"{folder}: it was trained in branch {manifest.branch} (its manifest says so)", hint)
    if archived and folder.name != finished.version:
        raise ModelError(f"{folder}: it holds the version {finished.version} (its manifest says so)", hint)


def _is_named_after(manifest: Manifest) -> bool:
    """Whether a model's name holds its ticker; names are made of team, ticker and suffix."""
    return f"-{slug(manifest.ticker)}-" in f"-{manifest.name}-"


def _unfinished(folder: Path, others: bool) -> str:
    """Why a model's own folder cannot be served; empty where it can, or where an earlier version answers for it."""
    if not folder.is_dir():
        return ""  # replaced just now, or removed
    try:
        manifest = read_manifest(folder)
    except ModelError as error:
        return error.message
    if manifest.shrinkage is None:  # it is being trained; that is no fault while an earlier version answers
        return "" if others else f"{folder}: training was not finished (no shrinkage yet)"
    return "" if (folder / GRAPH).is_file() else f"{folder}: {GRAPH} is missing"
