"""The configured models that the options and arguments of a command name."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from mlops_cli.cli.stage_calls import no_such_model
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError

if TYPE_CHECKING:
    from mlops_cli.config.load import Branch
    from mlops_cli.config.schemas.project import ModelSpec


def branches_of(project: Project, branch_name: str | None) -> list[Branch]:
    """The branch of this name, or all branches if it is None: those of params.yaml, and that of requested models.

    Raises:
        ConfigError: there is no such branch, or the configs have mistakes.
    """
    from mlops_cli.config.load import load_branch, load_branches, load_params
    from mlops_cli.config.requested import REQUESTED, with_requested

    params = load_params(project)
    if branch_name and (branch_name != REQUESTED or branch_name in params.branches):
        return [load_branch(project, params, branch_name)]
    branches = with_requested(project, params, load_branches(project, params))
    if branch_name is None:
        return list(branches.values())
    return [branches[REQUESTED]] if REQUESTED in branches else [load_branch(project, params, branch_name)]


def chosen_models(project: Project, branch_name: str | None, only: str | None) -> list[tuple[Branch, list[ModelSpec]]]:
    """The models that `--branch` and `--only` choose, by branch; a branch may have none of them.

    Raises:
        ConfigError: `--only` matches no model, there is no such branch, or the configs have mistakes.
    """
    branches = branches_of(project, branch_name)
    chosen = [
        (branch, [spec for spec in branch.models if only is None or fnmatchcase(spec.name, only)])
        for branch in branches
    ]
    if only is not None and not any(specs for _, specs in chosen):
        raise no_such_model(only, [spec.name for branch in branches for spec in branch.models])
    return chosen


def models_named(project: Project, branch_name: str | None, name: str) -> list[tuple[Branch, ModelSpec]]:
    """The models of this name: at least one, and one for each branch that has it.

    Raises:
        ConfigError: there is none, there is no such branch, or the configs have mistakes.
    """
    from mlops_cli.config.mistakes import suggestion

    branches = branches_of(project, branch_name)
    matching = [(branch, spec) for branch in branches for spec in branch.models if spec.name == name]
    if not matching:
        similar = suggestion(name, [spec.name for branch in branches for spec in branch.models])
        raise ConfigError(f"no model {name!r} in params.yaml's branches{similar}", "list them with: mlops models list")
    return matching


def the_model_named(project: Project, branch_name: str | None, name: str) -> tuple[str, str]:
    """Branch and name of the only model of this name.

    Raises:
        ConfigError: there is none, or several branches have one.
    """
    holders = [branch.name for branch, _ in models_named(project, branch_name, name)]
    if len(holders) > 1:
        raise ConfigError(f"{name} is in the branches {', '.join(holders)}", f"say which: --branch {holders[0]}")
    return holders[0], name
