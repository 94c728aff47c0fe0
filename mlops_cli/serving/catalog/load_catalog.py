"""Model folders into a catalog: whatever is broken is set aside with its reason, all others serve."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.errors import ModelError
from mlops_cli.evaluation.verdicts import verdicts
from mlops_cli.models.manifest import GRAPH, MANIFEST, read_manifest
from mlops_cli.models.shared.weight_files import WeightFiles
from mlops_cli.models.versions import ARCHIVE, Champion, VersionFolder, champion, model_versions
from mlops_cli.serving.catalog.catalog import Catalog, ServedModel
from mlops_cli.serving.catalog.ensembles import ensembles
from mlops_cli.serving.catalog.routes import route, side
from mlops_cli.serving.contract.messages import IndexEntry
from mlops_cli.serving.contract.served_version import ServedVersion

Place = tuple[str, str]  # branch, name
_SETTLING = 0.1  # seconds


@dataclass(frozen=True)
class Selection:
    """Which model folders are served.

    Attributes:
        root: holds `<branch>/<model>/` and the archive of earlier versions.
        pattern: glob over `<branch>/<model>` or `<model>`.
    """

    root: Path
    pattern: str = "*"

    def holds(self, place: Place) -> bool:
        """Whether a model is among them."""
        return fnmatchcase("/".join(place), self.pattern) or fnmatchcase(place[1], self.pattern)

    def places(self) -> list[Place]:
        """Every model that has a folder or an archive, sorted."""
        found = {
            (folder.parent.name, folder.name)
            for root in (self.root, self.root / ARCHIVE)
            for folder in root.glob("[!.]*/[!.]*")
            if folder.is_dir()
        }
        return sorted(place for place in found if self.holds(place))


def select(project: Project, models: str | None) -> Selection:
    """What `--models` means.

    Args:
        project: whose models are meant if no path is given.
        models: a model folder, a branch's folder or a folder of branches, a glob over model names (`red-*`,
            `main/red-*`) or over folders of `models/`; None: every model of the project.
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
class Found:
    """What is on disk of one model.

    Attributes:
        versions: whole ones, newest first, their weight files written.
        quarantined: the others.
        champion: as recorded.
    """

    versions: tuple[ServedVersion, ...]
    quarantined: tuple[IndexEntry, ...]
    champion: Champion


class Repository:
    """Reads model folders. Its methods read files for milliseconds per model: not for the event loop's thread."""

    def __init__(self, project: Project, settings: Serving, selection: Selection, files: WeightFiles) -> None:
        """Read what `selection` names, and keep weights in `files`."""
        self._project = project
        self._settings = settings
        self._selection = selection
        self._files = files
        self._found: dict[Place, Found] = {}

    def scan(self, touched: Iterable[Place] | None = None) -> Catalog:
        """Read model folders and build the catalog.

        Args:
            touched: only these are read again; None: all.
        """
        if touched is None:
            places = self._selection.places()
            left = self._found.keys() & set(places)
            self._found = {place: self._found[place] for place in left}
        else:
            places = [place for place in touched if self._selection.holds(place)]
        for place in places:
            found = self._read(place)
            if not found.versions and place in self._found:
                time.sleep(_SETTLING)  # caught between the two renames of an installation?
                found = self._read(place)
            if found.versions or found.quarantined:
                self._found[place] = found
            else:
                self._found.pop(place, None)
        return self._catalog()

    def shas(self) -> set[str]:
        """Graphs of all versions that can be served."""
        return {version.sha for found in self._found.values() for version in found.versions}

    def _read(self, place: Place) -> Found:
        root = self._selection.root
        versions, quarantined = [], []
        found = model_versions(root, *place)
        for one in found:
            try:
                versions.append(self._served(one))
            except ModelError as error:
                quarantined.append(IndexEntry(place[1], one.version, "QUARANTINED", error.message))
            except OSError as error:  # such as a full disk under the weight files
                quarantined.append(IndexEntry(place[1], one.version, "QUARANTINED", str(error)))
        try:
            record = champion(root, *place)
        except ModelError as error:
            record = Champion()
            quarantined.append(IndexEntry(place[1], "champion", "QUARANTINED", error.message))
        folder = root.joinpath(*place)
        reason = "" if any(one.folder == folder for one in found) else _unfinished(folder, bool(versions))
        if reason:
            quarantined.append(IndexEntry(place[1], "", "QUARANTINED", reason))
        return Found(tuple(versions), tuple(quarantined), record)

    def _served(self, one: VersionFolder) -> ServedVersion:
        manifest = one.manifest
        sha = manifest.files.get(GRAPH, "")
        self._files.prepare(one.folder, sha, len(manifest.inputs))
        return ServedVersion(
            version=one.version,
            sha=sha,
            folder=one.folder,
            inputs=manifest.inputs,
            ticker=manifest.ticker,
            team=manifest.team,
            trained_until=manifest.trained_until,
            shrinkage=manifest.shrinkage or 0.0,
            small=manifest.small,
        )

    def _catalog(self) -> Catalog:
        slugs = Counter(slug for _, slug in self._found)
        judged = {
            branch: verdicts(self._project.evaluation(branch)) for branch in {branch for branch, _ in self._found}
        }
        folders = {}
        for (branch, slug), found in self._found.items():
            name = slug if slugs[slug] == 1 else f"{branch}/{slug}"
            folders[branch, slug] = self._model(name, (branch, slug), found, judged[branch])
        shared = {
            slug: sorted(f"{branch}/{slug}" for branch, other in self._found if other == slug)
            for slug, count in slugs.items()
            if count > 1
        }
        models = {model.name: model for model in folders.values()}
        return Catalog(models, shared, folders, ensembles(self._project, self._settings.ensembles, models))

    def _model(self, name: str, place: Place, found: Found, judged: Mapping[tuple[str, str], str]) -> ServedModel:
        quarantined = tuple(IndexEntry(name, one.version, one.state, one.reason) for one in found.quarantined)
        versions, record = found.versions, found.champion
        if not versions:
            return ServedModel(name, *place, versions, quarantined)
        weights, shadow = self._settings.routes.get(place[1]), self._settings.shadow.get(place[1])
        accepted = side("champion", versions, record.version)
        return ServedModel(
            name,
            *place,
            versions,
            quarantined,
            default=accepted if weights or record.pinned else versions[0],
            route=route(name, weights or {}, versions, record.version),
            shadow=side(shadow, versions, record.version) if shadow else None,
            verdicts={one.version: judged[key] for one in versions if (key := (place[1], one.version)) in judged},
        )


def _unfinished(folder: Path, others: bool) -> str:
    """Why a model's own folder cannot be served; empty where it can, or where an earlier version answers for it."""
    if not folder.is_dir():
        return ""  # replaced just now, or removed
    try:
        manifest = read_manifest(folder)
    except ModelError as error:
        return error.message
    if manifest.shrinkage is None:  # being trained: nothing is wrong while an earlier version answers
        return "" if others else f"{folder}: training was not finished (no shrinkage yet)"
    return "" if (folder / GRAPH).is_file() else f"{folder}: {GRAPH} is missing"
