"""Facts about models that are known without running them: versions, descriptions, the repository index."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Literal

from mlops_cli.errors import ModelError, bounded
from mlops_cli.models.manifest import Manifest, read_manifest
from mlops_cli.models.versions import model_versions
from mlops_cli.serving.catalog.catalog import Catalog, ServedEnsemble, ServedModel
from mlops_cli.serving.catalog.ensembles import ensemble_inputs, ensemble_levels, ensemble_team, ensemble_version
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.contract.messages import (
    IndexEntry,
    ModelFacts,
    ServedVersion,
    UnknownModelError,
    UnservableError,
)


def manifest_of(root: Path, model: ServedModel) -> Manifest:
    """The manifest of the version that answers by default; `root` holds all model folders.

    Raises:
        UnservableError: the model is quarantined, or this version was removed.
    """
    version = version_of(model)
    with contextlib.suppress(ModelError):  # removed meanwhile; another version may be in its folder
        manifest = read_manifest(version.folder)
        if manifest.version == version.version:
            return manifest
    for folder in model_versions(root, *model.key):
        if folder.version == version.version:
            return folder.manifest
    raise UnservableError(f"{model.name} {version.version} was removed", "ask again: another version takes its place")


def version_of(model: ServedModel, number: str | None = None) -> ServedVersion:
    """A version of a model; without a number, the version that answers by default.

    Raises:
        UnknownModelError: the model has no such version.
        UnservableError: the version, or the model as a whole, is quarantined.
    """
    version = model.default if number is None else model.version(number)
    if version is not None:
        return version
    for entry in model.quarantined:
        if number is None or entry.version == number:
            raise UnservableError(
                f"{model.name} is quarantined: {entry.reason}", entry.hint or "train it again: mlops train"
            )
    available = ", ".join(other.version for other in model.versions)
    raise UnknownModelError(f"{model.name} has no version {(number or '')[:40]!r}", f"there are: {available or 'none'}")


def describe(catalog: Catalog, name: str, number: str | None = None) -> ModelFacts:
    """Facts about the given or default version of a model or an ensemble; raises the errors of `version_of`."""
    ensemble = catalog.ensembles.get(name)
    if ensemble is not None:
        return _describe_ensemble(ensemble, number)
    model = catalog.model(name)
    version = version_of(model, number)
    return ModelFacts(
        name=name,
        versions=tuple(other.version for other in model.versions),
        inputs=version.inputs,
        ticker=version.ticker,
        team=version.team,
        trained_until=version.trained_until,
        shrinkage=version.shrinkage,
        verdict=model.verdicts.get(version.version),
        levels=version.levels,
    )


def models_of(catalog: Catalog, ticker: str) -> list[str]:
    """Sorted names of the models and ensembles of a ticker, ignoring case; an `UnknownModelError` if there are none."""
    upper = ticker.upper()
    names = [model.name for model in catalog.models.values() if _has_ticker(model, upper)]
    for ensemble in catalog.ensembles.values():
        if ensemble.members and _has_ticker(ensemble.members[0][0], upper):
            names.append(ensemble.name)
    if not names:
        raise UnknownModelError(f"no model of ticker {ticker[:40]!r} is served", "see /v2/repository/index")
    return sorted(names)


def index(catalog: Catalog, loaded: LoadedModels, unloaded: Collection[str]) -> list[IndexEntry]:
    """Every version of every model and every ensemble, by name; quarantined ones with their reason."""
    entries = []
    for name in catalog.names():
        model = catalog.models.get(name)
        if model is None:
            entries.append(_ensemble_entry(catalog.ensembles[name]))
            continue
        entries += [_entry(name, version, loaded, name in unloaded) for version in model.versions]
        entries += model.quarantined
    return entries


def why_none_answers(catalog: Catalog, unloaded: Collection[str], failures: Mapping[str, str]) -> str:
    """Why no model answers, where `failures` are the graphs that could not be loaded; an empty string if one does."""
    reasons: dict[str, None] = {}
    for name, model in catalog.models.items():
        if model.default is None:
            reasons.update((entry.reason, None) for entry in model.quarantined)
        elif name in unloaded:
            reasons[f"{name} is unloaded"] = None
        elif model.default.sha in failures:
            reasons[failures[model.default.sha]] = None
        else:
            return ""
    return f"no model answers: {bounded(list(reasons), 3) or 'there is none'}"


def checked_ensemble(ensemble: ServedEnsemble, number: str | None) -> str:
    """The version number of an ensemble, checked against the requested one (None: any version).

    Raises:
        UnservableError: it cannot be served.
        UnknownModelError: its version is not the requested one.
    """
    if ensemble.reason:
        raise UnservableError(ensemble.reason, "see serving.ensembles in params.yaml")
    own = _version(ensemble)
    if number not in (None, own):
        raise UnknownModelError(f"{ensemble.name} has no version {(number or '')[:40]!r}", f"there is: {own}")
    return own


def _version(ensemble: ServedEnsemble) -> str:
    return ensemble_version([(version_of(model).version, weight) for model, weight in ensemble.members])


def _describe_ensemble(ensemble: ServedEnsemble, number: str | None) -> ModelFacts:
    own = checked_ensemble(ensemble, number)
    until: date = max(version_of(model).trained_until for model, _ in ensemble.members)
    inputs = ensemble_inputs(ensemble)
    ticker = ensemble.members[0][0].ticker or ""
    levels = ensemble_levels(ensemble)
    return ModelFacts(ensemble.name, (own,), inputs, ticker, ensemble_team(ensemble), until, 1.0, None, levels)


def _has_ticker(model: ServedModel, upper: str) -> bool:
    return model.ticker is not None and model.ticker.upper() == upper


def _entry(name: str, version: ServedVersion, loaded: LoadedModels, unloaded: bool) -> IndexEntry:
    if version.sha in loaded.failures:
        return IndexEntry(name, version.version, "QUARANTINED", loaded.failures[version.sha])
    if unloaded:
        return IndexEntry(name, version.version, "UNAVAILABLE", "unloaded by request")
    state: Literal["READY", "UNAVAILABLE"] = "READY" if version.sha in loaded else "UNAVAILABLE"
    return IndexEntry(name, version.version, state)


def _ensemble_entry(ensemble: ServedEnsemble) -> IndexEntry:
    if ensemble.reason:
        return IndexEntry(ensemble.name, "", "QUARANTINED", ensemble.reason)
    return IndexEntry(ensemble.name, _version(ensemble), "READY")
