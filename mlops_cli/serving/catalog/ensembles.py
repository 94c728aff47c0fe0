"""Ensembles: weighted averages of models of one ticker, served like models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Ensemble
from mlops_cli.serving.catalog.catalog import ServedEnsemble, ServedModel
from mlops_cli.serving.contract.messages import RUNGS, Answer, Rows


def ensembles(
    project: Project, settings: Mapping[str, Ensemble], models: Mapping[str, ServedModel]
) -> dict[str, ServedEnsemble]:
    """The ensembles of `serving.ensembles`. An ensemble that cannot be served holds the reason.

    An ensemble that has the same name as a model is left out, so requests for that name go to the model.
    """
    built = {}
    for name, ensemble in settings.items():
        if name in models:
            continue
        reason = _why_unservable(name, ensemble, models)
        if reason:
            built[name] = ServedEnsemble(name, reason=reason)
        else:
            members = [models[member] for member in ensemble.models]
            weights = _weights(project, ensemble, members)
            built[name] = ServedEnsemble(name, tuple(zip(members, weights, strict=True)))
    return built


def ensemble_version(parts: Sequence[tuple[str, float]]) -> str:
    """The version of an ensemble: a hash of its members' versions and weights."""
    text = ",".join(f"{version}*{weight!r}" for version, weight in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ensemble_inputs(ensemble: ServedEnsemble) -> tuple[str, ...]:
    """The input columns of all members, each once, in the order of the first member that has it; widths come last."""
    versions = [model.default for model, _ in ensemble.members if model.default is not None]
    needed = dict.fromkeys(name for version in versions for name in version.needed)
    widths = dict.fromkeys(name for version in versions for name in version.widths)
    return (*needed, *(widths if ensemble_levels(ensemble) else ()))


def ensemble_levels(ensemble: ServedEnsemble) -> tuple[float, ...]:
    """The levels of an ensemble's intervals; empty unless all members have the same."""
    levels = {model.default.levels for model, _ in ensemble.members if model.default is not None}
    return levels.pop() if len(levels) == 1 else ()


def _why_unservable(name: str, ensemble: Ensemble, models: Mapping[str, ServedModel]) -> str:
    """Why the ensemble cannot be served; an empty string if it can."""
    where = f"serving.ensembles.{name}"
    missing = [member for member in ensemble.models if member not in models or models[member].default is None]
    if missing:
        return f"{where}: cannot be served without {', '.join(missing)}"
    tickers = sorted({models[member].ticker or "" for member in ensemble.models})
    if len(tickers) > 1:
        return f"{where}: its models forecast different tickers: {', '.join(tickers)}"
    return _wrong_weights(where, ensemble)


def _wrong_weights(where: str, ensemble: Ensemble) -> str:
    if not isinstance(ensemble.weights, dict):
        return ""
    unweighted = sorted(set(ensemble.models) ^ set(ensemble.weights))
    if unweighted:
        return f"{where}: weights and models differ in: {', '.join(unweighted)}"
    return "" if any(ensemble.weights.values()) else f"{where}: all weights are 0"


def _weights(project: Project, ensemble: Ensemble, members: Sequence[ServedModel]) -> list[float]:
    """One weight per member; they add up to 1."""
    if isinstance(ensemble.weights, dict):
        raw = [ensemble.weights[member.slug] for member in members]
    elif ensemble.weights == "equal":
        raw = [1.0] * len(members)
    else:
        raw = _inverse_errors(project, members, ensemble.sessions)
    total = sum(raw)
    return [weight / total for weight in raw]


def _inverse_errors(project: Project, members: Sequence[ServedModel], sessions: int) -> list[float]:
    slugs: dict[str, list[str]] = {}
    for member in members:
        slugs.setdefault(member.branch, []).append(member.slug)
    recent = {branch: recent_errors(project, branch, names, sessions) for branch, names in slugs.items()}
    errors = [recent[member.branch].get(member.slug, 0.0) for member in members]
    if not all(error > 0 for error in errors):
        return [1.0] * len(members)  # no inverse error exists for some model, so all weigh the same
    return [1.0 / error for error in errors]


def ensemble_team(ensemble: ServedEnsemble) -> str:
    """The team of the members, or `ensemble` if they belong to several teams."""
    teams = {model.default.team for model, _ in ensemble.members if model.default is not None}
    return teams.pop() if len(teams) == 1 else "ensemble"


def averaged(ensemble: ServedEnsemble, answers: Sequence[Answer]) -> Answer:
    """The weighted average of the members' answers, which are in the order of the members.

    The bounds of intervals are averaged as well, where all answers have intervals of the same levels.
    """
    weights = [weight for _, weight in ensemble.members]
    return Answer(
        ensemble.name,
        ensemble.name,
        ensemble_version([(answer.version, weight) for answer, weight in zip(answers, weights, strict=True)]),
        _average([answer.log_return for answer in answers], weights),
        _average([answer.raw_log_return for answer in answers], weights),
        max((answer.rung for answer in answers), key=RUNGS.index),  # the most degraded answer of all members
        max(answer.age for answer in answers),
        None,
        _average_interval([answer.interval for answer in answers], weights),
    )


def _average_interval(intervals: Sequence[Rows | None], weights: Sequence[float]) -> Rows | None:
    """The average of the bounds; None unless all members have intervals of the same levels."""
    bounds = [interval for interval in intervals if interval is not None]
    if len(bounds) < len(intervals) or len({interval.shape for interval in bounds}) > 1:
        return None
    return _average(bounds, weights)


def _average(values: Sequence[Rows], weights: Sequence[float]) -> Rows:
    average = sum(value * np.float32(weight) for value, weight in zip(values, weights, strict=True))
    return np.asarray(average, dtype=np.float32)


FORECASTS = "forecasts.parquet"


def recent_errors(project: Project, branch: str, models: list[str], sessions: int) -> dict[str, float]:
    """Mean absolute error of each model, in price units, over its last `sessions` sessions whose close is known.

    Models that were not evaluated are left out.
    """
    import pandas as pd  # imported late: 40 MB that a server without ensembles weighted by error does not need

    path = project.evaluation(branch) / FORECASTS
    columns = ["model", "session", "predicted_close", "actual_close"]
    try:
        table = pd.read_parquet(path, columns=columns, filters=[("model", "in", models)])
    except (OSError, ValueError, KeyError):
        return {}
    table = table.dropna(subset=["actual_close"]).sort_values("session")
    error = (table["predicted_close"] - table["actual_close"]).abs()
    recent = error.groupby(table["model"].astype(str), observed=True).apply(lambda errors: errors.tail(sessions).mean())
    return {str(model): float(value) for model, value in recent.items()}
