"""Moving models into their own branch of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mlops_cli.config.editing.params import open_params, save_params, validated
from mlops_cli.config.editing.yaml_document import ruamel_value
from mlops_cli.config.load import Branch, load_branches, load_params
from mlops_cli.config.mistakes import suggestion
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import BranchSpec, ModelSpec, Params, branch_slug
from mlops_cli.errors import ConfigError

_OVERRIDES = ("source", "period", "training", "intervals", "seed")


@dataclass(frozen=True)
class Cut:
    """A new branch, and the models that it takes from other branches.

    `name` and `spec` are its key and value under `branches:` in params.yaml, `taken` the model names by the branch that
    has them now, `patterns` names or globs that match exactly these models. Branches in `emptied` have no others.
    """

    name: str
    spec: dict[str, Any]
    taken: dict[str, list[str]]
    patterns: list[str]
    emptied: frozenset[str]


def create_branch(project: Project, selection: str) -> list[str]:
    """Move the models of a selection (`red` or `red/AAPL`) into their own branch of params.yaml; a line per change.

    Raises:
        ConfigError: no such models, the branch exists, or mistakes in the configs. params.yaml does not change then.
    """
    params = load_params(project)
    cut = plan_cut(project, params, selection)
    if cut.name in params.branches:
        raise ConfigError(
            f"params.yaml: branches.{cut.name} exists already", "list the branches with: mlops branch list"
        )
    document = open_params(project)

    def edit(block: Any) -> None:
        branches = block["branches"]
        for holder in cut.taken:
            if holder in cut.emptied:
                del branches[holder]
            else:
                branches[holder]["exclude"] = ruamel_value([*params.branches[holder].exclude, *cut.patterns])
        branches[cut.name] = ruamel_value(cut.spec)

    document.change("branches", edit)
    load_branches(project, validated(document))
    save_params(project, document)
    lines = [f"params.yaml: branches.{cut.name}: added, {_count(sum(map(len, cut.taken.values())))}"]
    for holder, names in cut.taken.items():
        what = "removed, it is empty now" if holder in cut.emptied else f"{_count(len(names))} taken out"
        lines.append(f"params.yaml: branches.{holder}: {what}")
    return lines


def plan_cut(project: Project, params: Params, selection: str) -> Cut:
    """Choose the models of a new branch by a selection (`red` or `red/AAPL`), without changing anything.

    Raises:
        ConfigError: no such models, or mistakes in the configs.
    """
    team, _, ticker = title_of(selection).partition("/")
    branches = load_branches(project, params)
    everyone = _all_models(branches)
    taken = _taken(branches, team, ticker)
    if not taken:
        raise _nothing_selected(selection, everyone)
    selected = [model for chosen in taken.values() for model in chosen]
    names = sorted({model.name for model in selected})
    patterns = _patterns(names, team, [model.name for model in everyone], bool(ticker))
    files = sorted({model.file for model in selected})
    return Cut(
        name=branch_slug(title_of(selection)),
        spec={"collection": files, "only": patterns, **_overrides(params, list(taken))},
        taken={holder: [model.name for model in chosen] for holder, chosen in taken.items()},
        patterns=patterns,
        emptied=_emptied(branches, taken),
    )


def title_of(selection: str) -> str:
    """The selection as the name of a git branch.

    >>> title_of("red/aapl")
    'red/AAPL'
    """
    team, slash, ticker = selection.partition("/")
    return f"{team}{slash}{ticker.upper()}".rstrip("/")


def _taken(branches: dict[str, Branch], team: str, ticker: str) -> dict[str, list[ModelSpec]]:
    """The selected models by the branch that has them; `ticker` may be empty for all."""

    def selected(model: ModelSpec) -> bool:
        return model.team == team and ticker in ("", model.ticker)

    chosen = {name: list(filter(selected, branch.models)) for name, branch in branches.items()}
    return {name: models for name, models in chosen.items() if models}


def _all_models(branches: dict[str, Branch]) -> list[ModelSpec]:
    return [model for branch in branches.values() for model in branch.models]


def _emptied(branches: dict[str, Branch], taken: dict[str, list[ModelSpec]]) -> frozenset[str]:
    return frozenset(holder for holder, chosen in taken.items() if len(chosen) == len(branches[holder].models))


def _nothing_selected(selection: str, models: list[ModelSpec]) -> ConfigError:
    titles = sorted({f"{model.team}/{model.ticker}" for model in models})
    return ConfigError(
        f"no model of {selection!r} in any branch of params.yaml{suggestion(selection, titles)}",
        "write it as team or team/TICKER; list the models with: mlops models list",
    )


def _patterns(names: list[str], team: str, everyone: list[str], one_ticker: bool) -> list[str]:
    """The team's glob, which includes stocks added later; the names if it would match another team's models too."""
    glob = f"{team}-*"
    exact = {name for name in everyone if fnmatchcase(name, glob)} == set(names)
    return [glob] if exact and not one_ticker else names


def _overrides(params: Params, holders: list[str]) -> dict[str, Any]:
    """Source, period, training, intervals and seed of the branches that have the models now; they must not differ."""

    def of(spec: BranchSpec) -> dict[str, Any]:
        return {key: getattr(spec, key) for key in _OVERRIDES if getattr(spec, key) not in ({}, None)}

    first, *others = [of(params.branches[holder]) for holder in holders]
    if any(other != first for other in others):
        raise ConfigError(
            f"the branches {', '.join(holders)} hold these models and differ in {', '.join(_OVERRIDES)}",
            "cut one ticker at a time, or write the branch into params.yaml by hand",
        )
    return first


def _count(models: int) -> str:
    return f"{models} model{'' if models == 1 else 's'}"
