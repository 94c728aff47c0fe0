"""Judging live versions on closes that came after their training: the newest one against the one before it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Promotion
from mlops_cli.errors import MlopsError
from mlops_cli.models.versions import Champion, VersionFolder, champion, model_versions, versions_lock, write_champion
from mlops_cli.pipeline.stages.tables import table_columns
from mlops_cli.pipeline.versions.challenge import Judgement, compare_versions, record_judgement
from mlops_cli.pipeline.versions.live_champions import can_forecast, with_able, with_fresh
from mlops_cli.system.parallel import each

Policy = Literal["always", "tested"]
INTERRUPTED = "it was trained on everything known"


@dataclass(frozen=True)
class Pair:
    """Two versions of a model that are to be compared.

    Attributes:
        older: the champion; if the newest is champion already, the champion before it.
        newest: the newest version.
        record: of the champion.
    """

    branch: str
    model: str
    older: VersionFolder
    newest: VersionFolder
    record: Champion

    @property
    def newest_is_champion(self) -> bool:
        """Whether there is nothing to promote, only something to take back."""
        return self.record.version == self.newest.version

    @property
    def newest_answers(self) -> bool:
        """Whether the newest version answers without a route."""
        return not self.record.pinned or self.newest_is_champion

    @property
    def mark(self) -> str:
        """What tells this comparison from others of the model."""
        return f"{self.older.version} {self.newest.version}"


def pairs(
    project: Project,
    models: Collection[tuple[str, str]],
    policy: Policy,
    fail: Callable[[str, MlopsError], None],
    *,
    dry_run: bool = False,
) -> list[Pair]:
    """The models (branch and name) with two versions to compare; those whose champion a person pinned are left alone.

    With `always`, the newest live version first becomes champion where it is not yet, as after a kill between its
    installation and the record of the champion; not in a dry run, which writes nothing. A pinned champion that cannot
    forecast from the features of now gives way to the newest version. Only versions that can forecast are compared.
    """
    root, found = project.model_root, []
    for branch, model in models:
        versions = model_versions(root, branch, model)
        if len(versions) < 2:
            continue
        try:
            columns = table_columns(project.features(branch), model)
            before = record = champion(root, branch, model)
            if policy == "always":
                record = with_fresh(before, versions, str(versions[0].manifest.facts.get("why", INTERRUPTED)))
            record = with_able(record, versions, columns)
            if record != before and not dry_run:
                with versions_lock(project, branch, model):
                    if champion(root, branch, model) != before:
                        continue  # somebody chose a champion meanwhile: the next pass compares
                    write_champion(root, branch, model, record)
            pair = pair_of(branch, model, versions, record, columns)
        except MlopsError as error:
            fail(model, error)
        else:
            found += [pair] if pair else []
    return found


def pair_of(
    branch: str, model: str, versions: Sequence[VersionFolder], record: Champion, columns: Collection[str] | None
) -> Pair | None:
    """The versions of a model that are to be compared, if there are two that forecast from a table of these columns.

    `versions` are all of the model, newest first.
    """
    newest, others = versions[0], {version.version: version for version in versions[1:]}
    if record.pinned_by_hand or not (newest.manifest.live or record.by == "live"):
        return None
    earlier = (record.version, *reversed(record.history))
    older = next((others[number] for number in earlier if number in others), None)
    if older is None or not all(can_forecast(version.manifest, columns) for version in (older, newest)):
        return None
    return Pair(branch, model, older, newest, record)


def judge_pairs(project: Project, compared: Sequence[Pair], policy: Policy, rule: Promotion) -> list[Judgement]:
    """Compare the versions of each pair, and promote the newest, or go back to the older one.

    A promotion needs p below `rule.level`, as with `mlops models promote --by-skill`. Going back needs it after
    adjustment for the number of comparisons of this call (Benjamini and Yekutieli): of a thousand equal versions some
    always look worse.
    """
    results = each(partial(_compare, project, rule), compared, size=3)
    judgements = [
        _failed(pair, result) if isinstance(result, MlopsError) else result
        for pair, result in zip(compared, results, strict=True)
    ]
    proved = _proved(judgements, rule)
    return [
        _carry_out(project, pair, judgement, policy, sure=sure)
        for pair, judgement, sure in zip(compared, judgements, proved, strict=True)
    ]


def _empty(pair: Pair) -> Judgement:
    return Judgement(pair.branch, pair.model, pair.older.version, pair.newest.version)


def _failed(pair: Pair, error: MlopsError) -> Judgement:
    return replace(_empty(pair), reason=str(error), exit_code=error.exit_code)


def _compare(project: Project, rule: Promotion, pair: Pair) -> Judgement:
    return compare_versions(project, _empty(pair), pair.older, pair.newest, rule)


def _proved(judgements: Sequence[Judgement], rule: Promotion) -> list[bool]:
    """Which of the newest versions are worse, adjusted for the number of comparisons."""
    import numpy as np
    import pandas as pd

    from mlops_cli.evaluation.significance import false_discovery

    p = pd.Series([np.nan if judgement.p is None else judgement.p for judgement in judgements], dtype="float64")
    return [bool(value < rule.level) for value in false_discovery(p)]


def _carry_out(project: Project, pair: Pair, judgement: Judgement, policy: Policy, *, sure: bool) -> Judgement:
    """Write the new champion, if there is one."""
    why = f"{judgement.challenger} against {judgement.champion}: {judgement.reason}"
    record, newest = pair.record, judgement.challenger
    if judgement.promoted:
        if pair.newest_is_champion:
            return replace(judgement, promoted=False)
        after = record.followed_by(newest, record.pinned and policy == "tested", "live", why)
        return record_judgement(project, judgement, record, after)
    if not judgement.rolled_back or not pair.newest_answers:
        return replace(judgement, rolled_back=False)
    if not sure:
        reason = f"{judgement.reason}, but not for so many models at once"
        return replace(judgement, rolled_back=False, reason=reason)
    history = record.history
    if pair.newest_is_champion:
        history = history[: len(history) - history[::-1].index(judgement.champion) - 1]
    after = Champion(judgement.champion, True, history, "live", why, refused=newest)
    return record_judgement(project, judgement, record, after)
