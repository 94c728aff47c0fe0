"""Weighted averages of models of one ticker, served as models of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Ensemble
from mlops_cli.serving.catalog.catalog import ServedEnsemble, ServedModel
from mlops_cli.serving.catalog.recent_errors import recent_errors
from mlops_cli.serving.contract.messages import RUNGS, Answer


def ensembles(
    project: Project, settings: Mapping[str, Ensemble], models: Mapping[str, ServedModel]
) -> dict[str, ServedEnsemble]:
    """The ensembles of `serving.ensembles`; one that cannot be served holds the reason.

    Args:
        project: for the members' recent errors.
        settings: by name.
        models: by name, as they are served.
    """
    built = {}
    for name, wanted in settings.items():
        if name in models:
            continue  # the model of that name answers
        reason = _reason(name, wanted, models)
        if reason:
            built[name] = ServedEnsemble(name, reason=reason)
        else:
            members = [models[member] for member in wanted.models]
            built[name] = ServedEnsemble(name, tuple(zip(members, _weights(project, wanted, members), strict=True)))
    return built


def ensemble_version(parts: Sequence[tuple[str, float]]) -> str:
    """Name of exactly these versions with these weights."""
    text = ",".join(f"{version}*{weight!r}" for version, weight in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ensemble_inputs(ensemble: ServedEnsemble) -> tuple[str, ...]:
    """The input columns of all members, each once, in the order of the first that has it."""
    names: dict[str, None] = {}
    for model, _ in ensemble.members:
        names.update(dict.fromkeys(model.default.inputs if model.default else ()))
    return tuple(names)


def _reason(name: str, wanted: Ensemble, models: Mapping[str, ServedModel]) -> str:
    where = f"serving.ensembles.{name}"
    missing = [member for member in wanted.models if member not in models or models[member].default is None]
    if missing:
        return f"{where}: cannot be served without {', '.join(missing)}"
    tickers = sorted({models[member].ticker or "" for member in wanted.models})
    if len(tickers) > 1:
        return f"{where}: its models are of several tickers: {', '.join(tickers)}"
    if isinstance(wanted.weights, dict):
        unweighted = sorted(set(wanted.models) ^ set(wanted.weights))
        if unweighted:
            return f"{where}: weights and models differ in: {', '.join(unweighted)}"
        if not any(wanted.weights.values()):
            return f"{where}: all weights are 0"
    return ""


def _weights(project: Project, wanted: Ensemble, members: Sequence[ServedModel]) -> list[float]:
    if isinstance(wanted.weights, dict):
        raw = [wanted.weights[member.slug] for member in members]
    elif wanted.weights == "equal":
        raw = [1.0] * len(members)
    else:
        of = {branch: [one.slug for one in members if one.branch == branch] for branch in {m.branch for m in members}}
        recent = {branch: recent_errors(project, branch, slugs, wanted.sessions) for branch, slugs in of.items()}
        errors = [recent[member.branch].get(member.slug, 0.0) for member in members]
        # one that was not evaluated (or never wrong) cannot be weighed against the others
        raw = [1.0 / error for error in errors] if all(error > 0 for error in errors) else [1.0] * len(members)
    total = sum(raw)
    return [weight / total for weight in raw]


def ensemble_team(ensemble: ServedEnsemble) -> str:
    """The members' team, or `ensemble` where they are of several."""
    teams = {model.default.team for model, _ in ensemble.members if model.default is not None}
    return teams.pop() if len(teams) == 1 else "ensemble"


def averaged(ensemble: ServedEnsemble, answers: Sequence[Answer]) -> Answer:
    """The weighted average of the members' answers, in their order."""
    weights = [weight for _, weight in ensemble.members]
    log_return = sum(answer.log_return * np.float32(weight) for answer, weight in zip(answers, weights, strict=True))
    raw = sum(answer.raw_log_return * np.float32(weight) for answer, weight in zip(answers, weights, strict=True))
    return Answer(
        ensemble.name,
        ensemble.name,
        ensemble_version([(answer.version, weight) for answer, weight in zip(answers, weights, strict=True)]),
        np.asarray(log_return, dtype=np.float32),
        np.asarray(raw, dtype=np.float32),
        max((answer.rung for answer in answers), key=RUNGS.index),  # the last of its members'
        max(answer.age for answer in answers),
        None,
    )
