"""The models whose health is watched, and the settled forecasts of the journal by which they are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import MlopsError
from mlops_cli.live.health.outcomes import wholly_settled
from mlops_cli.live.journal.frames import journal_frame
from mlops_cli.live.journal.journal import Selection
from mlops_cli.live.journal.opening import read_journal
from mlops_cli.live.journal.staleness import stale_when_issued
from mlops_cli.models.versions import VersionFolder, answering_version, archive, model_versions

LONGEST_BREAK = timedelta(days=14)
"""No exchange closes for longer between two sessions."""

FEW = 100
"""So many models or fewer are looked up by name in the journal; of more, whole sessions are read."""


def label_of(branch: str, model: str) -> str:
    """The name of a model in health, because two branches may have models of one name: `main/red-aapl`."""
    return f"{branch}/{model}"


@dataclass(frozen=True)
class Watched:
    """A model that is watched, with the version that answers."""

    branch: str
    spec: ModelSpec
    answering: VersionFolder

    @property
    def label(self) -> str:
        """Its name in health."""
        return label_of(self.branch, self.spec.name)

    @property
    def group(self) -> str:
        """What its versions must have in common to be compared: the config, without the ticker."""
        return self.answering.manifest.group


def watched_models(
    project: Project, branches: Iterable[Branch], fail: Callable[[str, MlopsError], None]
) -> dict[str, Watched]:
    """The models that have a version, by label; small variants are left out: they only replace others under load.

    Args:
        project: whose models.
        branches: of the models.
        fail: gets the models whose record of the champion is damaged.
    """
    models: dict[str, Watched] = {}
    for branch in branches:
        for spec in branch.models:
            if spec.small_of is not None or not has_version(project.model_root, branch.name, spec.name):
                continue
            try:
                answering = answering_version(project.model_root, branch.name, spec.name)
            except MlopsError as error:
                fail(spec.name, error)
            else:
                models[label_of(branch.name, spec.name)] = Watched(branch.name, spec, answering)
    return models


def has_version(root: Path, branch: str, name: str) -> bool:
    """Whether a model may have a version; one that has not is not trained yet, which is no fault."""
    return (root / branch / name).is_dir() or archive(root, branch, name).is_dir()


def comparable_versions(root: Path, watched: Watched) -> list[VersionFolder]:
    """The version that answers, and before it each that was trained until an earlier day, with the same config."""
    others = [
        version
        for version in model_versions(root, watched.branch, watched.spec.name)
        if version.manifest.group == watched.group
    ]
    chosen = [watched.answering]
    for version in sorted(others, key=lambda other: other.manifest.trained_until, reverse=True):
        if version.manifest.trained_until < chosen[-1].manifest.trained_until:
            chosen.append(version)
    return chosen


def judged_forecasts(journal: Path, labels: Iterable[str], after: date | None) -> pd.DataFrame:
    """The settled forecasts of a journal, as health judges them.

    Those that were stale when issued are left out, because their closes were known then, and so is the newest session
    while closes of it are still to come.

    Args:
        journal: the database; it need not exist.
        labels: of the models.
        after: only target sessions after this day; None: all.

    Returns:
        The columns of `journal_frame`, where `model` is the label.
    """
    if not journal.is_file():
        return journal_frame([])
    chosen_labels = list(labels)
    names = {label.partition("/")[2] for label in chosen_labels} if len(chosen_labels) <= FEW else None
    selection = Selection(first=None if after is None else after - LONGEST_BREAK, models=names)
    with read_journal(journal) as opened:
        frame = journal_frame(opened.batches(selection))
    frame["model"] = frame["branch"] + "/" + frame["model"]
    chosen = frame["model"].isin(chosen_labels).to_numpy() & ~stale_when_issued(frame)
    if after is not None:
        chosen &= (frame["target_session"] > pd.Timestamp(after)).to_numpy()
    frame = frame[chosen]
    is_open = frame["actual_close"].isna()
    return wholly_settled(frame[~is_open], frame.loc[is_open, "target_session"]).reset_index(drop=True)
