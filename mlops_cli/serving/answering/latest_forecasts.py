"""The latest forecast of each model: its newest feature row, answered like any request."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlops_cli.errors import MlopsError
from mlops_cli.serving.answering.degradation import Answering, Asked, Target, has_columns
from mlops_cli.serving.answering.latest_rows import LatestRow, LatestRows
from mlops_cli.serving.catalog.catalog import Catalog, ServedEnsemble, ServedModel
from mlops_cli.serving.catalog.ensembles import ensemble_team, ensemble_version
from mlops_cli.serving.contract.messages import RUNGS, Answer, Forecast, OverloadedError, UnservableError


class LatestForecasts:
    """Forecasts from feature tables."""

    def __init__(self, answering: Answering, rows: LatestRows) -> None:
        self._answering = answering
        self._rows = rows

    async def of(
        self, catalog: Catalog, names: Sequence[str], unloaded: set[str]
    ) -> tuple[list[Forecast], dict[str, str]]:
        """The latest forecasts in the order of `names`, and by name why the others have none.

        Args:
            catalog: what is served; holds all the names.
            names: of models and ensembles.
            unloaded: models that were told not to answer.

        Raises:
            OverloadedError: not one has a forecast, and there was no room for one at least.
        """
        singles = [catalog.models[name] for name in names if name in catalog.models]
        averages = [catalog.ensembles[name] for name in names if name in catalog.ensembles]
        wanted = {model.name: model for model in singles}
        wanted.update({model.name: model for average in averages for model, _ in average.members})
        rows = await self._rows.get((model.branch, model.slug) for model in wanted.values())
        made: dict[str, Forecast] = {}
        reasons: dict[str, str] = {}
        refused: OverloadedError | None = None
        asked: list[tuple[Asked, LatestRow]] = []
        for model in wanted.values():
            try:
                if model.name in unloaded:
                    raise UnservableError("it is unloaded")
                asked.append(_asked(model, rows[model.branch, model.slug]))
            except MlopsError as error:
                reasons[model.name] = error.message
        for one, row in asked:
            model = one.target.model
            try:
                answer = await self._answering.answer(catalog, one.target, one.inputs, one.rows)
                made[model.name] = _forecast(one, row, answer)
            except MlopsError as error:
                reasons[model.name] = error.message
                refused = error if isinstance(error, OverloadedError) else refused
        if refused is not None and not made:
            raise refused
        for average in averages:
            reason = _missing(average, made)
            if reason:
                reasons[average.name] = reason
            else:
                made[average.name] = _average(average, made)
        return [made[name] for name in names if name in made], {
            name: reasons[name] for name in names if name in reasons
        }


def _asked(model: ServedModel, row: LatestRow | str) -> tuple[Asked, LatestRow]:
    """What is to be asked for a model's latest forecast.

    Raises:
        UnservableError: the model is quarantined, or has no row with all it needs.
    """
    version = model.default
    if version is None:
        raise UnservableError(model.quarantined[0].reason)
    if isinstance(row, str):
        raise UnservableError(row)
    if not has_columns(row.columns, version.inputs):
        missing = [name for name in version.inputs if name not in row.columns]
        raise UnservableError(f"the feature table has no number for {', '.join(missing[:5])}: run: mlops run")
    return Asked(Target(model, version), row.columns, row.values), row


def _forecast(asked: Asked, row: LatestRow, answer: Answer) -> Forecast:
    version, log_return = asked.target.version, float(answer.log_return[0])
    return Forecast(
        model=asked.target.model.name,
        ticker=version.ticker,
        team=version.team,
        session=row.session,
        target_session=row.target_session,
        last_close=row.last_close,
        predicted_close=row.last_close * math.exp(log_return),
        log_return=log_return,
        answered_by=answer.answered_by,
        version=answer.version,
        rung=answer.rung,
        age=answer.age,
        verdict=answer.verdict,
    )


def _missing(average: ServedEnsemble, made: dict[str, Forecast]) -> str:
    if average.reason:
        return average.reason
    lacking = [model.name for model, _ in average.members if model.name not in made]
    if lacking:
        return f"no forecast of {', '.join(lacking)}"
    sessions = {made[model.name].target_session for model, _ in average.members}
    return "its models' newest sessions differ: run: mlops featurize" if len(sessions) > 1 else ""


def _average(average: ServedEnsemble, made: dict[str, Forecast]) -> Forecast:
    parts = [(made[model.name], weight) for model, weight in average.members]
    first = parts[0][0]
    log_return = sum(part.log_return * weight for part, weight in parts)
    return Forecast(
        model=average.name,
        ticker=first.ticker,
        team=ensemble_team(average),
        session=first.session,
        target_session=first.target_session,
        last_close=first.last_close,
        predicted_close=first.last_close * math.exp(log_return),
        log_return=log_return,
        answered_by=average.name,
        version=ensemble_version([(part.version, weight) for part, weight in parts]),
        rung=max((part.rung for part, _ in parts), key=RUNGS.index),
        age=max(part.age for part, _ in parts),
        verdict=None,
    )
