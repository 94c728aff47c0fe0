"""What can be said of models without running them: names, facts, index."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Literal

from mlops_cli.serving.catalog.catalog import Catalog, ServedEnsemble, ServedModel
from mlops_cli.serving.catalog.ensembles import ensemble_inputs, ensemble_team, ensemble_version
from mlops_cli.serving.catalog.loaded_models import Residence
from mlops_cli.serving.contract.messages import IndexEntry, ModelFacts, UnknownModelError, UnservableError
from mlops_cli.serving.contract.served_version import ServedVersion


def version_of(model: ServedModel, wanted: str | None = None) -> ServedVersion:
    """A version of a model, or what answers by default.

    Raises:
        UnknownModelError: it has no such version.
        UnservableError: the version, or the model as a whole, is quarantined.
    """
    found = model.default if wanted is None else model.version(wanted)
    if found is not None:
        return found
    for entry in model.quarantined:
        if wanted is None or entry.version == wanted:
            raise UnservableError(f"{model.name} is quarantined: {entry.reason}", "train it again: mlops train")
    there = ", ".join(one.version for one in model.versions)
    raise UnknownModelError(f"{model.name} has no version {(wanted or '')[:40]!r}", f"there are: {there or 'none'}")


def facts(catalog: Catalog, name: str, version: str | None) -> ModelFacts:
    """Facts of a model or an ensemble.

    Raises:
        UnknownModelError, UnservableError: see `version_of`.
    """
    ensemble = catalog.ensembles.get(name)
    if ensemble is not None:
        return _facts_of_ensemble(ensemble, version)
    model = catalog.model(name)
    one = version_of(model, version)
    return ModelFacts(
        name=name,
        versions=tuple(other.version for other in model.versions),
        inputs=one.inputs,
        ticker=one.ticker,
        team=one.team,
        trained_until=one.trained_until,
        shrinkage=one.shrinkage,
        verdict=model.verdicts.get(one.version),
    )


def models_of(catalog: Catalog, ticker: str) -> list[str]:
    """Names of all models and ensembles of a ticker, sorted.

    Raises:
        UnknownModelError: there are none.
    """
    wanted = ticker.upper()
    names = [model.name for model in catalog.models.values() if (model.ticker or "").upper() == wanted]
    names += [
        one.name for one in catalog.ensembles.values() if one.members and _ticker(one.members[0][0]).upper() == wanted
    ]
    if not names:
        raise UnknownModelError(f"no model of ticker {ticker[:40]!r} is served", "see /v2/repository/index")
    return sorted(names)


def index(catalog: Catalog, residence: Residence, unloaded: Collection[str]) -> list[IndexEntry]:
    """Every version of every model and every ensemble, by name."""
    entries = []
    for name in catalog.names():
        model = catalog.models.get(name)
        if model is None:
            entries.append(_ensemble_entry(catalog.ensembles[name]))
            continue
        entries += [_entry(name, one, residence, name in unloaded) for one in model.versions]
        entries += model.quarantined
    return entries


def checked_ensemble(ensemble: ServedEnsemble, version: str | None) -> str:
    """The version of an ensemble that can be served.

    Raises:
        UnservableError: it cannot be served.
        UnknownModelError: its version is another one.
    """
    if ensemble.reason:
        raise UnservableError(ensemble.reason, "see serving.ensembles in params.yaml")
    own = _version(ensemble)
    if version not in (None, own):
        raise UnknownModelError(f"{ensemble.name} has no version {(version or '')[:40]!r}", f"there is: {own}")
    return own


def _version(ensemble: ServedEnsemble) -> str:
    return ensemble_version([(version_of(model).version, weight) for model, weight in ensemble.members])


def _facts_of_ensemble(ensemble: ServedEnsemble, version: str | None) -> ModelFacts:
    own = checked_ensemble(ensemble, version)
    until: date = max(version_of(model).trained_until for model, _ in ensemble.members)
    inputs = ensemble_inputs(ensemble)
    ticker = _ticker(ensemble.members[0][0])
    return ModelFacts(ensemble.name, (own,), inputs, ticker, ensemble_team(ensemble), until, 1.0, None)


def _ticker(model: ServedModel) -> str:
    return model.ticker or ""


def _entry(name: str, version: ServedVersion, residence: Residence, unloaded: bool) -> IndexEntry:
    if version.sha in residence.failures:
        return IndexEntry(name, version.version, "QUARANTINED", residence.failures[version.sha])
    if unloaded:
        return IndexEntry(name, version.version, "UNAVAILABLE", "unloaded by request")
    state: Literal["READY", "UNAVAILABLE"] = "READY" if version.sha in residence else "UNAVAILABLE"
    return IndexEntry(name, version.version, state)


def _ensemble_entry(ensemble: ServedEnsemble) -> IndexEntry:
    if ensemble.reason:
        return IndexEntry(ensemble.name, "", "QUARANTINED", ensemble.reason)
    return IndexEntry(ensemble.name, _version(ensemble), "READY")
