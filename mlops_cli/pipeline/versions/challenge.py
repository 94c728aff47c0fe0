"""Challenger against champion: the newest version of a model becomes champion if its forecasts are measurably nearer.

If the newest version answers already and its forecasts are measurably farther off, the champion answers again. Both are
replayed over the latest sessions whose close is known and that neither was trained on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Promotion
from mlops_cli.errors import DataError, MlopsError, ModelError
from mlops_cli.models.versions import Champion, VersionFolder, champion, model_versions, versions_lock, write_champion

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Judgement:
    """The result of one comparison.

    Attributes:
        champion: version of the champion; `?` where it could not be read.
        challenger: the newest version.
        sessions: known closes that neither version was trained on, at most as many as asked for.
        mae_champion: mean absolute error of the forecast closes, in the ticker's currency; None: not compared.
        mae_challenger: the same of the newest version.
        p: of Diebold and Mariano's test, two-sided; None: undefined.
        rolled_back: the challenger answered, and the champion answers again.
        reason: why, or why not.
        exit_code: 0, or that of the error because of which the two could not be compared.
    """

    branch: str
    model: str
    champion: str
    challenger: str
    sessions: int = 0
    mae_champion: float | None = None
    mae_challenger: float | None = None
    p: float | None = None
    promoted: bool = False
    rolled_back: bool = False
    reason: str = ""
    exit_code: int = 0


def promote_by_skill(
    project: Project, models: Sequence[tuple[str, str]], rule: Promotion, routed: Collection[str] = ()
) -> Iterator[Judgement]:
    """Compare the newest version of each model (branch and name) with its champion; promote it, or roll back.

    `routed` are the models whose requests serving.routes splits: there the champion answers already.

    Yields:
        A judgement of each model whose recorded champion is not its newest version.
    """
    for branch, model in models:
        versions = model_versions(project.model_root, branch, model)
        if not versions:
            continue
        judgement = Judgement(branch, model, "?", versions[0].version)
        try:
            record = champion(project.model_root, branch, model)
            if record.version in (None, versions[0].version):
                continue
            judgement = replace(judgement, champion=str(record.version))
            judgement = compare_versions(project, judgement, _recorded(model, versions, record), versions[0], rule)
            if record.pinned or model in routed:
                # the newest version does not answer, or answers its share only: there is nothing to roll back
                judgement = replace(judgement, rolled_back=False)
            judgement = _carry_out(project, judgement, record)
        except MlopsError as error:
            judgement = replace(
                judgement, promoted=False, rolled_back=False, reason=str(error), exit_code=error.exit_code
            )
        yield judgement


def _recorded(model: str, versions: Sequence[VersionFolder], record: Champion) -> VersionFolder:
    for version in versions:
        if version.version == record.version:
            return version
    raise ModelError(f"{model}: its champion is not there any more", f"run: mlops models promote {model}")


def _carry_out(project: Project, judgement: Judgement, record: Champion) -> Judgement:
    """Write the new champion, unless another one was chosen since `record` was read."""
    if not (judgement.promoted or judgement.rolled_back):
        return judgement
    why = f"{judgement.challenger} against {judgement.champion}: {judgement.reason}"
    if judgement.promoted:
        by = record.by if record.pinned else "skill"  # a pin stays that of the one who set it
        return record_judgement(
            project, judgement, record, record.followed_by(judgement.challenger, record.pinned, by, why)
        )
    after = replace(record, pinned=True, by="skill", why=why, refused=judgement.challenger)
    return record_judgement(project, judgement, record, after)


def record_judgement(project: Project, judgement: Judgement, before: Champion, after: Champion) -> Judgement:
    """Replace the record of the champion, unless it is not `before` any more; the judgement then says so."""
    branch, model = judgement.branch, judgement.model
    with versions_lock(project, branch, model):
        if champion(project.model_root, branch, model) == before:
            write_champion(project.model_root, branch, model, after)
            return judgement
    reason = f"{judgement.reason}, but somebody chose a champion meanwhile"
    return replace(judgement, promoted=False, rolled_back=False, reason=reason)


def compare_versions(
    project: Project, judgement: Judgement, recorded: VersionFolder, newest: VersionFolder, rule: Promotion
) -> Judgement:
    """Compare both versions on the latest sessions that neither was trained on.

    Raises:
        DataError: there are no features.
        ModelError: a version cannot forecast from them.
    """
    import numpy as np

    from mlops_cli.evaluation.significance import diebold_mariano_p

    trained_until = max(recorded.manifest.trained_until, newest.manifest.trained_until)
    table = _unseen(project, judgement, trained_until).tail(rule.sessions)
    judgement = replace(judgement, sessions=len(table))
    if len(table) < rule.sessions:
        return replace(
            judgement,
            reason=f"too few known closes that both never saw: serving.promotion.sessions asks for {rule.sessions}",
        )
    old, new = _forecasts(recorded, table), _forecasts(newest, table)
    actual = old["actual_close"].to_numpy()
    closes, new_closes = old["predicted_close"].to_numpy(), new["predicted_close"].to_numpy()
    mae, mae_new = float(np.abs(closes - actual).mean()), float(np.abs(new_closes - actual).mean())
    p = diebold_mariano_p(actual, new_closes, closes)
    judgement = replace(judgement, mae_champion=mae, mae_challenger=mae_new, p=None if np.isnan(p) else p)
    nearer = mae_new < mae
    word = "nearer" if nearer else "not nearer"
    if not p < rule.level:  # also where p is NaN, that is undefined
        return replace(judgement, reason=f"{word}, but p is not below {rule.level}: chance could have done it")
    return replace(judgement, promoted=nearer, rolled_back=not nearer, reason=f"{word}, with p below {rule.level}")


def _unseen(project: Project, judgement: Judgement, trained_until: date) -> pd.DataFrame:
    """The rows of the feature table with a known close that neither version was trained on."""
    import pandas as pd

    from mlops_cli.pipeline.stages.tables import read_table

    table = read_table(project.features(judgement.branch), judgement.model)
    if table is None:
        raise DataError(f"{judgement.model}: no features", "run: mlops featurize")
    return table[(table["target_session"] > pd.Timestamp(trained_until)) & table["next_close"].notna()]


def _forecasts(version: VersionFolder, table: pd.DataFrame) -> pd.DataFrame:
    from mlops_cli.models.predict import Model
    from mlops_cli.simulation.replay import replay

    start = version.manifest.trained_until + timedelta(days=1)
    return replay(Model(version.folder, version.manifest), table, start, None)
