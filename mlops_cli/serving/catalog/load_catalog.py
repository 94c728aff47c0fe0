"""Reads model folders into a catalog, and replaces it without a pause when they change.

A broken model is quarantined with the reason; all others are served.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.errors import ModelError
from mlops_cli.evaluation.verdicts import verdicts
from mlops_cli.models.manifest import GRAPH, MANIFEST, read_manifest
from mlops_cli.models.shared.weight_files import WeightFiles
from mlops_cli.models.versions import ARCHIVE, Champion, VersionFolder, champion, model_versions
from mlops_cli.serving.catalog.catalog import Catalog, ModelKey, ServedModel, route, version_for_role
from mlops_cli.serving.catalog.ensembles import ensembles
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.contract.messages import IndexEntry, ServedVersion, UnservableError

_SETTLING = 0.1  # seconds


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
    """The versions of a model on disk: whole ones, newest first, with their weight files; and those that are not."""

    versions: tuple[ServedVersion, ...]
    quarantined: tuple[IndexEntry, ...]
    champion: Champion


class CatalogLoader:
    """Reads model folders. Its methods read files for milliseconds per model: call them outside the event loop."""

    def __init__(self, project: Project, settings: Serving, selection: Selection, files: WeightFiles) -> None:
        """Read the models of `selection`, and write their weights to `files`."""
        self._project = project
        self._settings = settings
        self._selection = selection
        self._files = files
        self._models: dict[ModelKey, ModelOnDisk] = {}

    def scan(self, touched: Iterable[ModelKey] | None = None) -> Catalog:
        """Read the folders of the `touched` models (None: of all) again and build the catalog."""
        if touched is None:
            keys = self._selection.models()
            self._models = {key: self._models[key] for key in self._models.keys() & set(keys)}
        else:
            keys = [key for key in touched if self._selection.holds(key)]
        for key in keys:
            model = self._read(key)
            if not model.versions and key in self._models:
                time.sleep(_SETTLING)  # perhaps read between the two renames of an installation
                model = self._read(key)
            if model.versions or model.quarantined:
                self._models[key] = model
            else:
                self._models.pop(key, None)
        return self._catalog()

    def shas(self) -> set[str]:
        """Hashes of the graphs of all versions that can be served."""
        return {version.sha for model in self._models.values() for version in model.versions}

    def _read(self, key: ModelKey) -> ModelOnDisk:
        root = self._selection.root
        versions, quarantined = [], []
        folders = model_versions(root, *key)
        for finished in folders:
            try:
                versions.append(self._served(finished))
            except ModelError as error:
                quarantined.append(IndexEntry(key.name, finished.version, "QUARANTINED", error.message))
            except OSError as error:  # such as a full disk under the weight files
                quarantined.append(IndexEntry(key.name, finished.version, "QUARANTINED", str(error)))
        try:
            record = champion(root, *key)
        except ModelError as error:
            record = Champion()
            quarantined.append(IndexEntry(key.name, "champion", "QUARANTINED", error.message))
        newest = root.joinpath(*key)
        reason = "" if any(finished.folder == newest for finished in folders) else _unfinished(newest, bool(versions))
        if reason:
            quarantined.append(IndexEntry(key.name, "", "QUARANTINED", reason))
        return ModelOnDisk(tuple(versions), tuple(quarantined), record)

    def _served(self, finished: VersionFolder) -> ServedVersion:
        manifest = finished.manifest
        sha = manifest.files.get(GRAPH, "")
        self._files.prepare(finished.folder, sha, len(manifest.inputs))
        return ServedVersion(
            version=finished.version,
            sha=sha,
            folder=finished.folder,
            inputs=manifest.inputs,
            ticker=manifest.ticker,
            team=manifest.team,
            trained_until=manifest.trained_until,
            shrinkage=manifest.shrinkage or 0.0,
            small=manifest.small,
        )

    def _catalog(self) -> Catalog:
        branches_of = self._branches_by_name()
        judged = {branch: verdicts(self._project.evaluation(branch)) for branch in {key.branch for key in self._models}}
        folders = {}
        for key, model in self._models.items():
            served_as = key.name if len(branches_of[key.name]) == 1 else "/".join(key)
            folders[key] = self._served_model(served_as, key, model, judged[key.branch])
        shared = {
            name: sorted(f"{branch}/{name}" for branch in branches)
            for name, branches in branches_of.items()
            if len(branches) > 1
        }
        models = {model.name: model for model in folders.values()}
        return Catalog(models, shared, folders, ensembles(self._project, self._settings.ensembles, models))

    def _branches_by_name(self) -> dict[str, list[str]]:
        branches: dict[str, list[str]] = {}
        for key in self._models:
            branches.setdefault(key.name, []).append(key.branch)
        return branches

    def _served_model(
        self, served_as: str, key: ModelKey, model: ModelOnDisk, judged: Mapping[tuple[str, str], str]
    ) -> ServedModel:
        quarantined = tuple(replace(entry, name=served_as) for entry in model.quarantined)
        versions, record = model.versions, model.champion
        if not versions:
            return ServedModel(served_as, *key, versions, quarantined)
        weights, shadow = self._settings.routes.get(key.name), self._settings.shadow.get(key.name)
        accepted = version_for_role("champion", versions, record.version)
        numbers = [version.version for version in versions]
        return ServedModel(
            served_as,
            *key,
            versions,
            quarantined,
            default=accepted if weights or record.pinned else versions[0],
            route=route(served_as, weights or {}, versions, record.version),
            shadow=version_for_role(shadow, versions, record.version) if shadow else None,
            verdicts={number: judged[key.name, number] for number in numbers if (key.name, number) in judged},
        )


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


class LiveCatalog:
    """Keeps the catalog and the models in memory in step with the folders.

    `catalog` is replaced whole: a request that holds the old one finishes on it.
    """

    def __init__(self, settings: Serving, loader: CatalogLoader, loaded: LoadedModels, executor: Executor) -> None:
        """Read folders with `loader` in `executor`, and keep models in `loaded`."""
        self._settings = settings
        self._loader = loader
        self._loaded = loaded
        self._executor = executor
        self._scanning = asyncio.Lock()
        self.catalog = Catalog()

    async def rescan(self, models: Iterable[ModelKey] | None) -> None:
        """Read folders (None: of all models) again, load new versions of models in memory, then swap the catalog.

        A model that was in memory is in memory afterwards: no request has to wait until its new version is loaded.
        """
        async with self._scanning:
            loop = asyncio.get_running_loop()
            catalog = await loop.run_in_executor(self._executor, self._loader.scan, models)
            pinned = _matching(catalog, self._settings.pinned)
            self._loaded.pinned = {model.default.sha for model in pinned if model.default is not None}
            prewarmed = [] if self.catalog.models else _matching(catalog, self._settings.prewarm)
            for model in [*pinned, *prewarmed, *self._renewed(catalog)]:
                if model.default is not None:
                    with contextlib.suppress(UnservableError):  # the repository index tells the reason
                        await self._loaded.load(model.default)
            self.catalog = catalog
            self._loaded.drop_others(self._loader.shas())

    def _renewed(self, catalog: Catalog) -> list[ServedModel]:
        """Models that are in memory and whose default version is another one now."""
        renewed = []
        for name, model in catalog.models.items():
            before = self.catalog.models.get(name)
            if before is None or before.default is None or model.default is None:
                continue
            if before.default.sha in self._loaded and model.default.sha not in self._loaded:
                renewed.append(model)
        return renewed


def _matching(catalog: Catalog, patterns: tuple[str, ...]) -> list[ServedModel]:
    return [model for name, model in catalog.models.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]
