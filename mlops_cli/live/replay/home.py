"""The project of its own in which a past period is replayed: made once, and taken up again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Params
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import ConfigError, DataError, ModelError, ServiceError, bounded
from mlops_cli.evaluation.verdicts import MODELS
from mlops_cli.models.manifest import MANIFEST, fingerprint, read_manifest
from mlops_cli.pipeline.stages.stage import read_note
from mlops_cli.system.files import write_text
from mlops_cli.system.locks import file_lock

LOCAL_SOURCES = ("csv", "sample")
LOCAL_ACTIONS = ("auto", "none", "csv")
BEGUN = "begun.json"


@dataclass(frozen=True)
class ReplayHome:
    """The folder of a replay.

    Attributes:
        real: the project whose models and prices are replayed.
        project: the replay's own, in `.mlops/live-replay/<DATE>` of the real one.
    """

    real: Project
    project: Project

    @property
    def start(self) -> date:
        """The first day whose close is forecast."""
        return date.fromisoformat(self.project.root.name)

    @property
    def market(self) -> Path:
        """Folder of the price tables of the exchange, by branch: whole ones, because it must know the next open."""
        return self.project.root / "market"

    @property
    def notes(self) -> Path:
        """The database of what happened, evening by evening."""
        return self.project.state / "replay.db"

    @property
    def exchange_database(self) -> Path:
        """The state of the exchange."""
        return self.project.state / "exchange.db"

    def bytes_on_disk(self) -> int:
        """What the folder takes, without files that it shares with the real project."""
        files = [path.stat() for path in self.project.root.rglob("*") if path.is_file()]
        return sum(file.st_size for file in files if file.st_nlink == 1)


def home_of(real: Project, start: date) -> ReplayHome:
    """The folder of the replay from `start` on; it need not exist."""
    return ReplayHome(real, Project(real.state / "live-replay" / str(start)))


@contextmanager
def locked_home(home: ReplayHome) -> Iterator[None]:
    """Hold the folder of a replay.

    Raises:
        ServiceError: another process is replaying from this day on.
    """
    root = home.project.root
    busy = ServiceError(f"another mlops live is replaying from {root.name} on", "wait until it has finished")
    with file_lock(root.with_name(f"{root.name}.lock"), busy):
        yield


@dataclass(frozen=True)
class Settings:
    """What a replay is made of.

    Attributes:
        params: of the real project.
        branches: all branches, by name.
        rules: of the teams that trade, by name.
    """

    params: Params
    branches: Mapping[str, Branch]
    rules: Mapping[str, Rules]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Branch and model of all models."""
        return [(branch.name, spec.name) for branch in self.branches.values() for spec in branch.models]


def open_home(home: ReplayHome, settings: Settings, last: date, *, restart: bool) -> bool:
    """Make the folder of a replay, or take it up again; returns whether it existed.

    Args:
        home: the folder.
        settings: of the real project today.
        last: the last session that is replayed.
        restart: remove what an earlier replay left, and begin anew.

    Raises:
        ConfigError: prices or dividends come from the internet; or params, configs or models changed since the replay
            was begun.
        ModelError: no model is trained, or some were trained on the period.
        DataError: the prices do not reach.
    """
    root = home.project.root
    _check_sources(settings)
    if restart:
        _remove(root)
    begun = read_note(root / BEGUN)
    if begun is None:
        _check_models(home.real, settings, home.start)
        _check_prices(
            [home.real.prices(name) for name in settings.branches], last, "bring them up to date: mlops ingest"
        )
        _make(home, settings)
        return False
    changed = [what for what, mark in _marks(home.real, settings).items() if begun.get(what) != mark]
    if changed:
        raise ConfigError(
            f"{' and '.join(changed)} changed since the replay from {root.name} on was begun",
            "begin it anew: add --restart",
        )
    _check_prices(
        [home.market / name for name in settings.branches], last, "begin anew with newer prices: add --restart"
    )
    return True


def _check_sources(settings: Settings) -> None:
    for branch in settings.branches.values():
        kind, actions = branch.source.kind, branch.source.actions.kind
        if kind not in LOCAL_SOURCES:
            raise ConfigError(
                f"branch {branch.name}: source {kind} cannot be replayed, because it needs the internet",
                "set source.kind to csv or sample",
            )
        if actions not in LOCAL_ACTIONS:
            raise ConfigError(
                f"branch {branch.name}: dividends of {actions} cannot be replayed, because they need the internet",
                "set source.actions.kind to auto, none or csv",
            )


def _check_models(real: Project, settings: Settings, start: date) -> None:
    trained = {name: read_manifest(real.models(branch) / name) for branch, name in _trained(real, settings)}
    if not trained:
        raise ModelError("no model is trained, so there is nothing to begin with", "train them first: mlops run")
    late = [f"{name} (until {each.trained_until})" for name, each in trained.items() if each.trained_until >= start]
    if late:
        raise ModelError(
            f"{len(late)} of {len(trained)} models were trained on {start} or later: {bounded(late)}",
            "choose a later --replay DATE; or set the scenario's start to that day, and train again: mlops run",
        )


def _trained(real: Project, settings: Settings) -> list[tuple[str, str]]:
    """Branch and name of the models whose folder in the pipeline is finished."""
    finished = []
    for branch, name in settings.names:
        values = read_note(real.models(branch) / name / MANIFEST)
        if values is not None and values.get("shrinkage") is not None:
            finished.append((branch, name))
    return finished


def _check_prices(folders: Sequence[Path], last: date, hint: str) -> None:
    notes = [read_note(path.with_suffix(".json")) for folder in folders for path in folder.glob("*.parquet")]
    newest = max((str(note.get("last", "")) for note in notes if note), default="")
    if not newest:
        raise DataError("there are no prices yet", "fetch them: mlops ingest")
    if newest < str(last):
        raise DataError(
            f"the prices end on {newest}, and the replay needs those of {last}", f"choose fewer --days, or {hint}"
        )


def _marks(real: Project, settings: Settings) -> dict[str, str]:
    """A hash of each thing that must stay the same while a replay is going on."""
    versions = {
        f"{branch}/{name}": read_manifest(real.models(branch) / name).version
        for branch, name in _trained(real, settings)
    }
    rules = {team: own.model_dump(mode="json") for team, own in settings.rules.items()}
    branches = {name: _plain(branch) for name, branch in settings.branches.items()}
    return {
        "params.yaml": fingerprint([settings.params.model_dump(mode="json"), rules]),
        "configs": fingerprint(branches),
        "models": fingerprint(versions),
    }


def _plain(branch: Branch) -> dict[str, Any]:
    return {
        key: [each.model_dump(mode="json") for each in value] if key == "models" else str(value)
        for key, value in vars(branch).items()
    }


def _make(home: ReplayHome, settings: Settings) -> None:
    """Make the folder under another name, and rename it once it is whole."""
    root, real = home.project.root, home.real
    part = root.with_name(f".{root.name}.part")
    _remove(part)
    made = Project(part)
    part.mkdir(parents=True)
    shutil.copy2(real.params, made.params)
    shutil.copytree(real.configs, made.configs)
    for scenario in real.scenario("x").parent.glob("*.yaml"):
        made.scenario(scenario.stem).parent.mkdir(exist_ok=True)
        shutil.copy2(scenario, made.scenario(scenario.stem))
    for branch, name in _trained(real, settings):
        _share(real.models(branch) / name, made.models(branch) / name)
    for branch in settings.branches:
        if real.prices(branch).is_dir():
            _share(real.prices(branch), ReplayHome(real, made).market / branch)
        judged = real.evaluation(branch) / MODELS
        if judged.is_file():
            made.evaluation(branch).mkdir(parents=True)
            shutil.copy2(judged, made.evaluation(branch) / MODELS)
    write_text(part / BEGUN, json.dumps(_marks(real, settings), indent=2) + "\n")
    part.rename(root)


def _share(source: Path, destination: Path) -> None:
    """Link the files of a folder. mlops replaces files and does not change them, so links keep what they were."""
    shutil.copytree(source, destination, copy_function=_link, ignore=shutil.ignore_patterns(".*"))


def _link(source: str, destination: str) -> None:
    try:
        os.link(Path(source).resolve(), destination)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, destination)


def _remove(folder: Path) -> None:
    """Remove a folder; it is renamed first, so that no half-removed replay is taken up again."""
    if folder.exists():
        hidden = folder.with_name(f".{folder.name}.removed")
        shutil.rmtree(hidden, ignore_errors=True)
        folder.rename(hidden)
        shutil.rmtree(hidden)
