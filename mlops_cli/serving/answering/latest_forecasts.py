"""The latest forecast of each model: as it was issued, or computed from the newest row of its feature table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from mlops_cli.errors import MlopsError
from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.serving.answering.degradation import Answering, Target, has_columns
from mlops_cli.serving.answering.issued_cache import IssuedCache
from mlops_cli.serving.answering.latest_rows import LatestRow, LatestRows
from mlops_cli.serving.answering.session_ages import SessionAges
from mlops_cli.serving.answering.shown_issued import (
    IssuedContext,
    RowHashes,
    issued_answer,
    issued_basis,
    issued_forecast,
    levels_of,
    why_superseded,
)
from mlops_cli.serving.catalog.catalog import Catalog, ServedEnsemble, ServedModel
from mlops_cli.serving.catalog.ensembles import averaged, ensemble_team
from mlops_cli.serving.contract.issued_forecasts import Issued, IssuedKey
from mlops_cli.serving.contract.messages import (
    UNKNOWN_AGE,
    Age,
    Answer,
    Forecast,
    ForecastBasis,
    OverloadedError,
    ServedVersion,
    UnservableError,
)


@dataclass
class _Outcome:
    """What became of the models of one request: answers, the forecasts made from them on these bases, and failures.

    Of issued forecasts, only those of `members` of the ensembles that are asked for have an answer and a basis.
    """

    members: set[str]
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
    """Issued forecasts, and those that are computed from feature tables where none was issued."""

    def __init__(
        self,
        answering: Answering,
        rows: LatestRows,
        issued: IssuedCache | None = None,
        ages: SessionAges | None = None,
    ) -> None:
        """Compute from `rows` what was not `issued`; without `ages`, how old data are is unknown."""
        self._answering = answering
        self._rows = rows
        self._issued = issued
        self._ages = ages
        self._hashes = RowHashes()

    async def of(
        self, catalog: Catalog, models: Sequence[str] | None, unloaded: set[str], computed: bool = False
    ) -> tuple[list[Forecast], dict[str, str]]:
        """The latest forecasts in the order of the names, and by name the reason for each model without one.

        Args:
            catalog: what is served.
            models: names of models and ensembles; None: all.
            unloaded: names of models that do not answer.
            computed: compute forecasts also where one was issued.

        Raises:
            UnknownModelError: a name is not served.
            OverloadedError: no model has a forecast, and at least one of them because of load.
        """
        names = _names(catalog, models)
        asked = _models(catalog, names)
        rows = await self._rows.get(model.key for model in asked.values())
        await self._learn_ages(asked.values())
        issued = {} if computed else await self._issued_on(rows.values())
        outcome = _Outcome(_members(catalog, names))
        for name in unloaded & asked.keys():
            outcome.fail(name, UnservableError("it is unloaded"))
        for model in asked.values():
            row = rows[model.key]
            if model.name not in unloaded and not self._show(model, row, issued, outcome):
                await self._ask(catalog, model, row, outcome)
        if outcome.overloaded is not None and not outcome.forecasts:
            raise outcome.overloaded
        for name in catalog.ensembles.keys() & set(names):
            _add_average(catalog.ensembles[name], outcome)
        return outcome.of(names)

    async def problem(self) -> str:
        """Why the issued forecasts cannot be read; empty if they can."""
        if self._issued is None:
            return ""
        await self._issued.made_on(())
        return self._issued.problem

    async def age(self, exchange: str, session: date) -> Age:
        """How old data of an exchange are whose last session is this one."""
        if self._ages is None:
            return UNKNOWN_AGE
        await self._ages.learn([exchange])
        return self._ages.age(exchange, session)

    def count_stale(self, catalog: Catalog) -> int | None:
        """How many models have a newest row that is older than the last finished session; None if that is unknown."""
        if self._ages is None:
            return None
        sessions = Counter(
            (model.default.exchange, row.session)
            for key, model in catalog.models_by_key.items()
            if model.default is not None and isinstance(row := self._rows.known(key), LatestRow)
        )
        ages = {place: self._ages.age(*place) for place in sessions}
        if all(age.stale is None for age in ages.values()):
            return None
        return sum(count for place, count in sessions.items() if ages[place].stale)

    def learn_ages(self, catalog: Catalog) -> None:
        """Begin to find out how old the data are, so that `count_stale` can tell it later."""
        if self._ages is not None:
            self._ages.begin(model.default.exchange for model in catalog.models.values() if model.default is not None)

    async def stop(self) -> None:
        """Stop reading."""
        if self._issued is not None:
            self._issued.close()
        if self._ages is not None:
            await self._ages.stop()

    async def _learn_ages(self, models: Iterable[ServedModel]) -> None:
        if self._ages is not None:
            await self._ages.learn({model.default.exchange for model in models if model.default is not None})

    async def _issued_on(self, rows: Iterable[LatestRow | str]) -> Issued:
        sessions = {row.session for row in rows if not isinstance(row, str)}
        return {} if self._issued is None or not sessions else await self._issued.made_on(sessions)

    def _age(self, version: ServedVersion, row: LatestRow) -> Age:
        return UNKNOWN_AGE if self._ages is None else self._ages.age(version.exchange, row.session)

    def _show(self, model: ServedModel, row: LatestRow | str, issued: Issued, outcome: _Outcome) -> bool:
        """Show the forecast that was issued on the newest row; False if there is none."""
        if isinstance(row, str) or model.default is None:
            return False
        made = issued.get(IssuedKey(*model.key, row.session))
        if made is None:
            return False
        now = datetime.now(UTC)
        superseded = why_superseded(model, made, row, self._hashes)
        shown = IssuedContext(row.session, self._age(model.default, row), now, superseded)
        outcome.forecasts[model.name] = issued_forecast(model, made, shown)
        if model.name in outcome.members:
            levels = levels_of(model, made)
            outcome.bases[model.name] = issued_basis(made, row.session, levels)
            outcome.answers[model.name] = issued_answer(model, made, levels, now)
        return True

    async def _ask(self, catalog: Catalog, model: ServedModel, row: LatestRow | str, outcome: _Outcome) -> None:
        """Compute the forecast of the newest row, or note why there is none."""
        try:
            await self._compute(catalog, model, row, outcome)
        except MlopsError as error:
            outcome.fail(model.name, error)

    async def _compute(self, catalog: Catalog, model: ServedModel, row: LatestRow | str, outcome: _Outcome) -> None:
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
        outcome.forecasts[model.name] = Forecast.of(basis, answer, self._age(version, row))


def _names(catalog: Catalog, models: Sequence[str] | None) -> list[str]:
    """The names that are asked for; an `UnknownModelError` if one is not served."""
    if models is None:
        return catalog.names()
    for name in models:
        if name not in catalog.ensembles:
            catalog.model(name)
    return list(models)


def _members(catalog: Catalog, names: Sequence[str]) -> set[str]:
    """The names of the members of those names that are ensembles."""
    ensembles = (catalog.ensembles[name] for name in names if name in catalog.ensembles)
    return {model.name for ensemble in ensembles for model, _ in ensemble.members}


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
    members = [outcome.forecasts[model.name] for model, _ in ensemble.members]
    superseded = next((member.superseded for member in members if member.superseded), None)
    age = Age(members[0].data_age_sessions, members[0].stale)  # all are for the same session of one ticker
    forecast = replace(Forecast.of(basis, answer, age), superseded=superseded)
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
