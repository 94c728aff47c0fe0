"""Which models `mlops live` trains again, and why.

Only what is cheap is looked at for every model: manifests, configs, and what earlier steps of the pass noted of prices
and health. Feature tables are read only where that gives a reason to; see `live.watch.row_changes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal, get_args

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.live import Live
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import MlopsError
from mlops_cli.live.health.state import Health, State
from mlops_cli.live.watch.row_changes import Looked, moved_inputs, rows_changed
from mlops_cli.live.watch.watched import label_of
from mlops_cli.market.sessions import sessions
from mlops_cli.models.manifest import Manifest
from mlops_cli.models.versions import Champion, VersionFolder, champion, model_versions, the_answering
from mlops_cli.pipeline.stages.tables import table_columns
from mlops_cli.pipeline.stages.train_plan import group_of, noted_inputs, settings_mark
from mlops_cli.pipeline.versions.live_champions import can_forecast
from mlops_cli.pipeline.versions.live_judging import pair_of

Reason = Literal["features", "degraded", "config", "new_data_restated", "drift", "age"]
RANK: Mapping[str, int] = {reason: rank for rank, reason in enumerate(get_args(Reason))}
"""The sickest first."""


@dataclass(frozen=True)
class Prices:
    """What is known of the prices of a ticker.

    Attributes:
        last: the last session.
        restated: last session of the pass that last saw earlier closes change; None: none has.
    """

    last: date
    restated: date | None


@dataclass(frozen=True)
class Circumstances:
    """What decides whether a model is due.

    Attributes:
        live: the settings.
        judged_after: known closes that a challenger needs before it is judged.
        session: that the pass is known by.
        last_session: of an exchange.
        prices: by branch and ticker; a ticker that is not there gives no reason.
        health: states of the models.
        failed: by label, how many passes in a row could not train a model.
        checked: by label, for which version and restatement the rows were found unchanged.
        judged: by label, which two versions were last compared; see `live.passes.judge`.
    """

    project: Project
    live: Live
    judged_after: int
    session: date
    last_session: Callable[[str], date]
    prices: Mapping[str, Mapping[str, Prices]]
    health: Health
    failed: Mapping[str, int] = field(default_factory=dict)
    checked: Mapping[str, str] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Due:
    """A model to be trained.

    Attributes:
        reason: the gravest one.
        why: in words.
        age: sessions since its newest version was trained.
        failed: how many passes in a row could not train it.
    """

    branch: str
    spec: ModelSpec
    reason: Reason
    why: str
    age: int = 0
    failed: int = 0

    @property
    def label(self) -> str:
        """Its name in health and notes."""
        return label_of(self.branch, self.spec.name)

    @property
    def order(self) -> tuple[int, int, int, str]:
        """Sorts models: those whose training failed in the last pass last, the sickest first, then the oldest."""
        return self.failed, RANK[self.reason], -self.age, self.label


@dataclass(frozen=True)
class _Candidate:
    """A model with versions: the newest decides what is due, even if an older one answers; `branch` has no models."""

    branch: Branch
    spec: ModelSpec
    newest: Manifest
    answering: Manifest
    age: int
    versions: Sequence[VersionFolder]
    record: Champion

    @property
    def label(self) -> str:
        return label_of(self.branch.name, self.spec.name)


def find_due(
    branches: Sequence[Branch], now: Circumstances, fail: Callable[[str, MlopsError], None]
) -> tuple[list[Due], dict[str, str]]:
    """Find the models that are due.

    Args:
        branches: of the models.
        now: what decides.
        fail: gets the models of which this cannot be said.

    Returns:
        The models that are due, in order; and `checked` as it is after this call.
    """
    due: list[Due] = []
    left: list[_Candidate] = []
    for branch in branches:
        bare = replace(branch, models=())
        for spec in branch.models:
            try:
                candidate = _candidate(bare, spec, now)
                reason = _reason(candidate, bare, spec, now)
            except MlopsError as error:
                fail(spec.name, error)
                continue
            if reason is not None:
                due.append(_due(bare.name, spec, reason, candidate, now))
            elif candidate is not None:
                left.append(candidate)
    checked = dict(now.checked)
    due += _restated(left, now, checked)
    chosen = {item.label for item in due}
    due += _drifted([candidate for candidate in left if candidate.label not in chosen], now)
    return sorted(due, key=lambda item: item.order), checked


def _candidate(branch: Branch, spec: ModelSpec, now: Circumstances) -> _Candidate | None:
    """The model, or None if it has no version yet."""
    root = now.project.model_root
    versions = model_versions(root, branch.name, spec.name)
    if not versions:
        return None
    newest = versions[0].manifest
    record = champion(root, branch.name, spec.name)
    answering = the_answering(versions, record).manifest
    age = sessions_between(spec.exchange, newest.trained_until, now.last_session(spec.exchange))
    return _Candidate(branch, spec, newest, answering, age, versions, record)


@lru_cache(maxsize=4096)
def sessions_between(exchange: str, after: date, until: date) -> int:
    """How many sessions an exchange has after a day, up to another one."""
    return len(sessions(exchange, after + timedelta(days=1), until))


def _reason(
    candidate: _Candidate | None, branch: Branch, spec: ModelSpec, now: Circumstances
) -> tuple[Reason, str] | None:
    """Why a model is due, as far as that can be said without its feature table."""
    if candidate is None:
        return "config", "it has no version yet"
    sick = _degraded(candidate, now) if "degraded" in now.live.retrain.on else None
    changed = _config_changed(candidate.newest, branch, spec, now.project)
    if changed and not can_forecast(candidate.answering, table_columns(now.project.features(branch.name), spec.name)):
        return "features", "the version that answers cannot forecast from the features of now"
    if sick:
        return "degraded", sick
    if changed:
        return "config", "its settings changed"
    return _too_old(candidate, now)


def _degraded(candidate: _Candidate, now: Circumstances) -> str | None:
    """Why a model is broken; None if it is not, or if its newest version was trained after it broke."""
    health = now.health.models.get(candidate.label)
    if health is None or health.state is not State.BROKEN or health.version != candidate.answering.version:
        return None
    if health.since is not None and candidate.newest.trained_until >= health.since:
        return None
    return f"broken since {health.since}"


def _config_changed(newest: Manifest, branch: Branch, spec: ModelSpec, project: Project) -> bool:
    """Whether other settings decide the training now. Versions from before these were noted are compared by group."""
    inputs = noted_inputs(project.features(branch.name), spec.name)
    if inputs is None:
        return False  # no features: the stages before have reported it
    if newest.settings:
        return newest.settings != settings_mark(inputs, branch, spec)
    return newest.recipe != (group_of(spec), inputs.columns) or newest.seed != branch.seed


def _too_old(candidate: _Candidate, now: Circumstances) -> tuple[Reason, str] | None:
    limit, newest = now.live.retrain.max_age_sessions, candidate.newest
    if limit is None or candidate.age < limit:
        return None
    prices = now.prices.get(candidate.branch.name, {}).get(candidate.spec.ticker)
    if prices is not None and prices.last <= newest.trained_until:
        return None  # there are no closes that it has not seen
    if _waits_for_judgement(candidate, now, limit):
        return None
    return "age", f"trained {candidate.age} sessions ago"


def _waits_for_judgement(candidate: _Candidate, now: Circumstances, limit: int) -> bool:
    """Whether the newest version is still to be compared with the one before it: a newer one would prevent that.

    Missing closes and missed passes delay the comparison; it is waited for up to twice the usual time. Who lets
    versions that answer grow no older than a comparison needs (`limit`) has chosen not to compare them.
    """
    answers = candidate.answering.version == candidate.newest.version
    branch, name = candidate.branch.name, candidate.spec.name
    columns = table_columns(now.project.features(branch), name)
    pair = pair_of(branch, name, candidate.versions, candidate.record, columns)
    if pair is None:
        return not answers and candidate.age <= now.judged_after
    if now.judged.get(candidate.label, "").startswith(pair.mark) or (answers and limit <= now.judged_after):
        return False
    return candidate.age <= 2 * now.judged_after


def _restated(left: Sequence[_Candidate], now: Circumstances, checked: dict[str, str]) -> list[Due]:
    """The models whose training rows have other values now. What was looked at is noted in `checked`."""
    if "new_data_restated" not in now.live.retrain.on:
        return []
    todo = list(_suspects(left, now, checked))
    due = []
    looked = rows_changed(now.project, [_looked(candidate) for candidate, _ in todo])
    for (candidate, restated), changed in zip(todo, looked, strict=True):
        if changed:
            why = f"prices that it was trained on were corrected, seen on {restated}"
            due.append(_due(candidate.branch.name, candidate.spec, ("new_data_restated", why), candidate, now))
        else:
            checked[candidate.label] = _check(candidate, restated)
    return due


def _suspects(
    left: Sequence[_Candidate], now: Circumstances, checked: dict[str, str]
) -> Iterator[tuple[_Candidate, date]]:
    """The models of whose tickers closes changed since the day of their training, and when.

    Without those looked at already. On that day itself the change may have come before the training: the rows tell.
    """
    for candidate in left:
        prices = now.prices.get(candidate.branch.name, {}).get(candidate.spec.ticker)
        restated = prices.restated if prices else None
        if restated is None or not candidate.newest.rows or restated < candidate.newest.trained_until:
            checked.pop(candidate.label, None)
        elif checked.get(candidate.label) != _check(candidate, restated):
            yield candidate, restated


def _check(candidate: _Candidate, restated: date) -> str:
    return f"{candidate.newest.version} {restated}"


def _drifted(left: Sequence[_Candidate], now: Circumstances) -> list[Due]:
    if "drift" not in now.live.retrain.on:
        return []
    words = moved_inputs(now.project, [_looked(candidate) for candidate in left], now.session)
    return [
        _due(candidate.branch.name, candidate.spec, ("drift", words[candidate.label]), candidate, now)
        for candidate in left
        if candidate.label in words
    ]


def _looked(candidate: _Candidate) -> Looked:
    return Looked(candidate.label, candidate.branch, candidate.spec, candidate.newest, candidate.age)


def _due(
    branch: str, spec: ModelSpec, reason: tuple[Reason, str], candidate: _Candidate | None, now: Circumstances
) -> Due:
    failed = now.failed.get(label_of(branch, spec.name), 0)
    return Due(branch, spec, *reason, candidate.age if candidate else 0, failed)
