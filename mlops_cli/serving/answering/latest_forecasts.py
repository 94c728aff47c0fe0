"""The latest forecast of each model: the newest row of its feature table, answered like any request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlops_cli.errors import MlopsError
from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.serving.answering.degradation import Answering, Target, has_columns
from mlops_cli.serving.answering.latest_rows import LatestRow, LatestRows
from mlops_cli.serving.catalog.catalog import Catalog, ServedEnsemble, ServedModel
from mlops_cli.serving.catalog.ensembles import averaged, ensemble_team
from mlops_cli.serving.contract.messages import (
    Answer,
    Forecast,
    ForecastBasis,
    OverloadedError,
    ServedVersion,
    UnservableError,
)


@dataclass
class _Outcome:
    """What became of the models of one request: answers, the forecasts made from them on these bases, and failures."""

    answers: dict[str, Answer] = field(default_factory=dict)
    forecasts: dict[str, Forecast] = field(default_factory=dict)
    bases: dict[str, ForecastBasis] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    overloaded: OverloadedError | None = None

    def fail(self, name: str, error: MlopsError) -> None:
        """Note why a model has no forecast."""
        self.reasons[name] = error.message
        if isinstance(error, OverloadedError):
            self.overloaded = error

    def of(self, names: Sequence[str]) -> tuple[list[Forecast], dict[str, str]]:
        """Forecasts and reasons, in the order of these names."""
        forecasts = [self.forecasts[name] for name in names if name in self.forecasts]
        return forecasts, {name: self.reasons[name] for name in names if name in self.reasons}


class LatestForecasts:
    """Forecasts from feature tables."""

    def __init__(self, answering: Answering, rows: LatestRows) -> None:
        self._answering = answering
        self._rows = rows

    async def of(
        self, catalog: Catalog, names: Sequence[str], unloaded: set[str]
    ) -> tuple[list[Forecast], dict[str, str]]:
        """The latest forecasts in the order of `names`, and by name the reason for each model without one.

        Raises:
            OverloadedError: no model has a forecast, and at least one of them because of load.
        """
        models = _models(catalog, names)
        rows = await self._rows.get(model.key for model in models.values())
        outcome = _Outcome()
        for name, model in models.items():
            try:
                if name in unloaded:
                    raise UnservableError("it is unloaded")
                await self._ask(catalog, model, rows[model.key], outcome)
            except MlopsError as error:
                outcome.fail(name, error)
        if outcome.overloaded is not None and not outcome.forecasts:
            raise outcome.overloaded
        for name in catalog.ensembles.keys() & set(names):
            _add_average(catalog.ensembles[name], outcome)
        return outcome.of(names)

    async def _ask(self, catalog: Catalog, model: ServedModel, row: LatestRow | str, outcome: _Outcome) -> None:
        version = model.default
        if version is None:
            raise UnservableError(model.quarantined[0].reason)
        row = _row_for(version, row)
        widths = row.widths(version.widths)
        answer = await self._answering.answer(
            catalog, Target(model, version), row.columns, row.values, interval=bool(widths)
        )
        basis = _basis(version, row, dict(zip(version.levels, widths, strict=bool(widths))))
        outcome.bases[model.name] = basis
        outcome.answers[model.name] = answer
        outcome.forecasts[model.name] = Forecast.of(basis, answer)


def _basis(version: ServedVersion, row: LatestRow, widths: Mapping[float, float]) -> ForecastBasis:
    dividend = row.last_close * row.announced if ANNOUNCED in version.inputs else 0.0
    return ForecastBasis(
        ticker=version.ticker,
        team=version.team,
        session=row.session,
        target_session=row.target_session,
        last_close=row.last_close,
        announced_dividend=dividend,
        dividend_source="project" if dividend else None,
        widths=widths,
    )


def _models(catalog: Catalog, names: Sequence[str]) -> dict[str, ServedModel]:
    """The models to ask, by name: those asked for, and the members of ensembles."""
    models = {name: catalog.models[name] for name in names if name in catalog.models}
    for name in names:
        if name in catalog.ensembles:
            models.update({model.name: model for model, _ in catalog.ensembles[name].members})
    return models


def _row_for(version: ServedVersion, row: LatestRow | str) -> LatestRow:
    """The row, or an `UnservableError` if there is none or it lacks a column that the version needs."""
    if isinstance(row, str):
        raise UnservableError(row)
    if not has_columns(row.columns, version.needed):
        missing = [name for name in version.needed if name not in row.columns]
        raise UnservableError(f"the feature table has no number for {', '.join(missing[:5])}: run: mlops run")
    return row


def _add_average(ensemble: ServedEnsemble, outcome: _Outcome) -> None:
    reason = _why_no_average(ensemble, outcome.forecasts)
    if reason:
        outcome.reasons[ensemble.name] = reason
        return
    bases = [outcome.bases[model.name] for model, _ in ensemble.members]
    # members without a base do not know the dividend
    basis = replace(max(bases, key=lambda basis: basis.announced_dividend), team=ensemble_team(ensemble))
    answer = averaged(ensemble, [outcome.answers[model.name] for model, _ in ensemble.members])
    forecast = Forecast.of(basis, answer)
    if len({basis.announced_dividend for basis in bases}) > 1:
        # to add the dividend to the mean would count it for members whose forecasts do not subtract it
        totals = [outcome.forecasts[model.name].expected_total_return * weight for model, weight in ensemble.members]
        forecast = replace(forecast, expected_total_return=sum(totals))
    outcome.forecasts[ensemble.name] = forecast


def _why_no_average(ensemble: ServedEnsemble, forecasts: Mapping[str, Forecast]) -> str:
    if ensemble.reason:
        return ensemble.reason
    missing = [model.name for model, _ in ensemble.members if model.name not in forecasts]
    if missing:
        return f"no forecast of {', '.join(missing)}"
    sessions = {forecasts[model.name].target_session for model, _ in ensemble.members}
    return "its models' newest sessions differ: run: mlops featurize" if len(sessions) > 1 else ""
