"""Challenger against champion: the newest version takes its place where it is measurably nearer.

Where the newest answers already and is measurably farther, it gives way to the champion.

Both are replayed over the latest sessions whose close is known and that neither was trained on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Promotion
from mlops_cli.errors import DataError, MlopsError, ModelError
from mlops_cli.models.versions import VersionFolder, champion, model_versions, write_champion

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Judgement:
    """What became of one challenge.

    Attributes:
        sessions: known closes that neither version was trained on, at most as many as asked for.
        mae_champion: mean absolute error of the forecast closes, in the ticker's currency; None: not judged.
        mae_challenger: the same of the newest version.
        p: of Diebold and Mariano's test, two-sided; None: undefined.
        promoted: the challenger is the champion now.
        rolled_back: the challenger answered, and the champion answers again.
        reason: why, or why not.
        exit_code: 0, or that of the error that kept it from being judged.
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
    """Judge the newest version of each model against its champion; promote it, or roll back, where one is nearer.

    Args:
        project: where.
        models: branch and name of each.
        rule: on how many sessions, and how sure.
        routed: models whose requests serving.routes splits: there the champion answers already.

    Yields:
        A judgement of each model whose recorded champion is not its newest version.
    """
    for branch, model in models:
        kept = {one.version: one for one in model_versions(project.model_root, branch, model)}
        if not kept:
            continue
        challenger = next(iter(kept.values()))
        judgement = Judgement(branch, model, "?", challenger.version)
        try:
            record = champion(project.model_root, branch, model)
            if record.version in (None, challenger.version):
                continue
            judgement = replace(judgement, champion=str(record.version))
            if record.version not in kept:
                raise ModelError(f"{model}: its champion is not there any more", f"run: mlops models promote {model}")
            judgement = _judged(project, judgement, (kept[record.version], challenger), rule)
            if record.pinned or model in routed:
                judgement = replace(judgement, rolled_back=False)  # the newest does not answer, or has its share only
            changes = judgement.promoted or judgement.rolled_back
            if changes and champion(project.model_root, branch, model) != record:
                reason = f"{judgement.reason}, but somebody chose a champion meanwhile"
                judgement = replace(judgement, promoted=False, rolled_back=False, reason=reason)
        except MlopsError as error:
            yield replace(judgement, reason=str(error), exit_code=error.exit_code)
            continue
        if judgement.promoted:
            write_champion(project.model_root, branch, model, record.followed_by(judgement.challenger, record.pinned))
        elif judgement.rolled_back:
            write_champion(project.model_root, branch, model, replace(record, pinned=True))
        yield judgement


def _judged(
    project: Project, judgement: Judgement, pair: tuple[VersionFolder, VersionFolder], rule: Promotion
) -> Judgement:
    import numpy as np

    from mlops_cli.evaluation.significance import diebold_mariano_p

    table = _unseen(project, judgement, pair).tail(rule.sessions)
    judgement = replace(judgement, sessions=len(table))
    if len(table) < rule.sessions:
        return replace(
            judgement,
            reason=f"too few known closes that both never saw: serving.promotion.sessions asks for {rule.sessions}",
        )
    champions, challengers = (_forecasts(one, table) for one in pair)
    actual = champions["actual_close"].to_numpy()
    closes, new_closes = champions["predicted_close"].to_numpy(), challengers["predicted_close"].to_numpy()
    mae, mae_new = float(np.abs(closes - actual).mean()), float(np.abs(new_closes - actual).mean())
    p = diebold_mariano_p(actual, new_closes, closes)
    judgement = replace(judgement, mae_champion=mae, mae_challenger=mae_new, p=None if np.isnan(p) else p)
    nearer = mae_new < mae
    word = "nearer" if nearer else "not nearer"
    if not p < rule.level:  # NaN: nothing was shown
        return replace(judgement, reason=f"{word}, but p is not below {rule.level}: chance could have done it")
    return replace(judgement, promoted=nearer, rolled_back=not nearer, reason=f"{word}, with p below {rule.level}")


def _unseen(project: Project, judgement: Judgement, pair: tuple[VersionFolder, VersionFolder]) -> pd.DataFrame:
    """The rows of the feature table with a known close that neither version was trained on."""
    import pandas as pd

    from mlops_cli.pipeline.stages.tables import read_table

    table = read_table(project.features(judgement.branch), judgement.model)
    if table is None:
        raise DataError(f"{judgement.model}: no features", "run: mlops featurize")
    seen = max(one.manifest.trained_until for one in pair)
    return table[(table["target_session"] > pd.Timestamp(seen)) & table["next_close"].notna()]


def _forecasts(one: VersionFolder, table: pd.DataFrame) -> pd.DataFrame:
    from mlops_cli.models.predict import Model
    from mlops_cli.simulation.replay import replay

    start = one.manifest.trained_until + timedelta(days=1)
    return replay([Model(one.folder, one.manifest)], lambda _: table, start, None)
