"""Building references: with which forecasts the versions in use are compared.

The reference of a model is a walk over time: for each session the forecast of a version that had not seen it. Forecasts
that were issued, which the journal holds, come first. Other sessions are replayed with the versions on disk. When a
model is trained again, its reference goes on: the sessions since the last one are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.config.paths import Project
from mlops_cli.errors import MlopsError
from mlops_cli.live.health.calibration import LENGTHS
from mlops_cli.live.health.signal import WARM_UP
from mlops_cli.live.health.state import Health, ModelHealth, State
from mlops_cli.live.watch.reference_files import COLUMNS, PRICES, Built, References
from mlops_cli.live.watch.watched import Watched, comparable_versions
from mlops_cli.market.sessions import sessions
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import VersionFolder
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.simulation.replay import replay
from mlops_cli.system.parallel import each

Places = NDArray[np.intp]

KEPT = LENGTHS[-1] + WARM_UP
"""Sessions of a reference that count."""


@dataclass(frozen=True)
class Evidence:
    """From what references are built.

    Attributes:
        health: the stored states; what a broken model forecast since it changed is left out.
        issued: settled forecasts of the journal, of `watched.judged_forecasts`.
        until: the last target session that a reference may hold.
    """

    health: Health
    issued: pd.DataFrame
    until: date


@dataclass(frozen=True)
class _Stretch:
    """Target sessions from `first` to `last` that a version is to be replayed on."""

    version: VersionFolder
    first: date
    last: date


@dataclass(frozen=True)
class _Replay:
    """A model and its stretches, the newest first."""

    project: Project
    branch: str
    name: str
    label: str
    stretches: tuple[_Stretch, ...]


def rebuilt(
    project: Project,
    models: Sequence[Watched],
    stored: References,
    evidence: Evidence,
    fail: Callable[[str, MlopsError], None],
) -> References:
    """Build the references of some models.

    Args:
        project: whose models and features.
        models: of which the reference is to be built.
        stored: the references of before, of all models.
        evidence: what is known now.
        fail: gets the models that could not be replayed; their references lack what was to be replayed.

    Returns:
        The references of these models only.
    """
    issued = _Issued.of(evidence.issued)
    going_on: list[str] = []
    places: list[Places] = []
    replays = []
    for model in models:
        walk = _Walk.of(project, model, stored.built.get(model.label), evidence)
        if walk.goes_on:
            going_on.append(model.label)
        places.append(walk.issued(issued))
        stretches = tuple(walk.stretches(issued.days[places[-1]]))
        if stretches:
            replays.append(_Replay(project, model.branch, model.spec.name, model.label, stretches))
    frames = [stored.rows[stored.rows["model"].isin(going_on)]]
    if places:
        frames.append(evidence.issued.iloc[np.concatenate(places)])
    for item, result in zip(replays, each(_replay, replays), strict=True):
        if isinstance(result, MlopsError):
            fail(item.name, result)
        else:
            frames.append(result)
    built = {
        model.label: Built(version=model.answering.version, group=model.group, until=evidence.until) for model in models
    }
    return References(_joined(frames), built)


@dataclass(frozen=True)
class _Issued:
    """Settled forecasts of the journal as arrays, because there are many models.

    Attributes:
        days: target sessions, shape (n,).
        versions: that made the forecasts, shape (n,).
        of_model: the places of each model's forecasts.
    """

    days: NDArray[np.datetime64]
    versions: NDArray[np.object_]
    of_model: Mapping[Any, Places]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Issued:
        days = frame["target_session"].to_numpy("datetime64[D]")
        groups = frame.groupby("model", observed=True, sort=False).indices
        places = {label: np.asarray(where, np.intp) for label, where in groups.items()}
        return cls(days, frame["version"].to_numpy(object), places)


@dataclass(frozen=True)
class _Walk:
    """Which sessions are to be added to the reference of a model: those after `after`, up to `last`.

    Attributes:
        versions: whose forecasts count, the one that answers first.
        goes_on: whether there is a reference of the same config, to which they are added.
    """

    model: Watched
    versions: tuple[VersionFolder, ...]
    before: Built | None
    goes_on: bool
    after: date
    last: date

    @classmethod
    def of(cls, project: Project, model: Watched, before: Built | None, evidence: Evidence) -> _Walk:
        versions = tuple(comparable_versions(project.model_root, model))
        goes_on = before is not None and before.group == model.group
        after = versions[-1].manifest.trained_until
        if before is not None and goes_on:
            after = before.until
        changed = _changed(evidence.health.models.get(model.label), before)
        last = evidence.until if changed is None else min(evidence.until, changed - timedelta(days=1))
        return cls(model, versions, before, goes_on, after, last)

    def issued(self, issued: _Issued) -> Places:
        """The places of the forecasts of the journal that are to be added."""
        places = issued.of_model.get(self.model.label, np.empty(0, np.intp))
        names = {version.version for version in self.versions}
        if self.before is not None and self.goes_on:
            names.add(self.before.version)  # its folder may be gone
        days = issued.days[places]
        within = (days > np.datetime64(self.after)) & (days <= np.datetime64(self.last))
        return places[within & np.isin(issued.versions[places], list(names))]

    def stretches(self, issued: NDArray[np.datetime64]) -> Iterator[_Stretch]:
        """What is to be replayed, the newest first; nothing where the sessions of the journal, `issued`, are all."""
        first = self.after + timedelta(days=1)
        if self.goes_on:
            days = sessions(self.model.spec.exchange, first, self.last).to_numpy("datetime64[D]")
            if np.isin(days, issued).all():
                return
        last = self.last
        for version in self.versions:
            unseen = max(first, version.manifest.trained_until + timedelta(days=1))
            if unseen <= last:
                yield _Stretch(version, unseen, last)
            last = min(last, version.manifest.trained_until)


def _changed(health: ModelHealth | None, before: Built | None) -> date | None:
    """Since when the version before is broken; None if it is not."""
    if health is None or before is None or health.version != before.version or health.state != State.BROKEN:
        return None
    return health.run.began or health.since


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The newest sessions of each model in some frames; of a session in several, the row of the first."""
    types = {"model": "str", "target_session": "datetime64[s]", **dict.fromkeys(PRICES, "float64")}
    rows = pd.concat([frame[list(COLUMNS)].astype(types) for frame in frames if len(frame)] or [frames[0]])
    rows = rows.drop_duplicates(["model", "target_session"]).sort_values(["model", "target_session"])
    return rows.groupby("model", observed=True).tail(KEPT).reset_index(drop=True)


def _replay(item: _Replay) -> pd.DataFrame:
    """The forecasts of a model's stretches, until there are enough."""
    table = read_table(item.project.features(item.branch), item.name)
    frames: list[pd.DataFrame] = []
    missing = KEPT
    if table is None:
        return pd.DataFrame(columns=list(COLUMNS))
    for stretch in item.stretches:
        rows = _newest(table, stretch, missing)
        if rows.empty:
            continue
        manifest = stretch.version.manifest
        start, end = rows["target_session"].iloc[0].date(), stretch.last + timedelta(days=1)
        frames.append(replay(Model(stretch.version.folder, manifest), rows, start, end))
        missing -= len(rows)
    if not frames:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(frames, ignore_index=True).assign(model=item.label)[list(COLUMNS)]


def _newest(table: pd.DataFrame, stretch: _Stretch, count: int) -> pd.DataFrame:
    """The last rows of a stretch whose close is known."""
    days = table["target_session"]
    within = (days >= pd.Timestamp(stretch.first)) & (days <= pd.Timestamp(stretch.last))
    return table[within & table["next_close"].notna()].tail(max(0, count))
