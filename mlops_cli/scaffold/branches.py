"""Cutting branches of params.yaml out of the collection."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mlops_cli.config.editing.params import open_params, save_params, validated
from mlops_cli.config.editing.yaml_document import ruamel_value
from mlops_cli.config.load import Branch, load_branches, load_params
from mlops_cli.config.mistakes import suggestion
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import BranchSpec, Params, branch_slug
from mlops_cli.errors import ConfigError

_OVERRIDES = ("source", "period", "training", "seed")


@dataclass(frozen=True)
class Cut:
    """A new branch, and what it takes from which.

    Attributes:
        name: of the branch in params.yaml.
        spec: what params.yaml will say of it.
        taken: model names by the branch that holds them now.
        patterns: globs that stand for the models taken.
        emptied: branches that hold nothing else.
    """

    name: str
    spec: dict[str, Any]
    taken: dict[str, list[str]]
    patterns: list[str]
    emptied: frozenset[str]


def create_branch(project: Project, selection: str) -> list[str]:
    """Give a team's models, all or on one ticker, a branch of their own in params.yaml.

    Args:
        project: the project folder.
        selection: `red` or `red/AAPL`.

    Returns:
        One line per change, for the user.

    Raises:
        ConfigError: no such models, the branch exists, or mistakes in the configs; params.yaml is then as it was.
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
    """Choose the models of a new branch.

    Raises:
        ConfigError: no such models, or mistakes in the configs.
    """
    team, _, ticker = title_of(selection).partition("/")
    branches = load_branches(project, params)
    taken = {holder: _chosen(branch, team, ticker) for holder, branch in branches.items()}
    taken = {holder: names for holder, names in taken.items() if names}
    if not taken:
        known = sorted({f"{m.team}/{m.ticker}" for branch in branches.values() for m in branch.models})
        raise ConfigError(
            f"no model of {selection!r} in any branch of params.yaml{suggestion(selection, known)}",
            "write it as team or team/TICKER; list the models with: mlops models list",
        )
    names = sorted({name for of_holder in taken.values() for name in of_holder})
    patterns = _patterns(names, team, [m.name for branch in branches.values() for m in branch.models], bool(ticker))
    files = sorted({m.file for holder in taken for m in branches[holder].models if m.name in names})
    spec = {"collection": files, "only": patterns, **_overrides(params, list(taken))}
    emptied = frozenset(holder for holder, of_holder in taken.items() if len(of_holder) == len(branches[holder].models))
    return Cut(branch_slug(title_of(selection)), spec, taken, patterns, emptied)


def title_of(selection: str) -> str:
    """The selection as a git branch is called.

    >>> title_of("red/aapl")
    'red/AAPL'
    """
    team, slash, ticker = selection.partition("/")
    return f"{team}{slash}{ticker.upper()}".rstrip("/")


def _chosen(branch: Branch, team: str, ticker: str) -> list[str]:
    return [m.name for m in branch.models if m.team == team and (not ticker or m.ticker == ticker)]


def _patterns(names: list[str], team: str, everyone: list[str], one_ticker: bool) -> list[str]:
    """A team's glob, so that its next stock comes along by itself, unless another team's models fit it too."""
    glob = f"{team}-*"
    exact = {name for name in everyone if fnmatchcase(name, glob)} == set(names)
    return [glob] if exact and not one_ticker else names


def _overrides(params: Params, holders: list[str]) -> dict[str, Any]:
    """What the holding branches say of source, period, training and seed, which must not differ."""

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
