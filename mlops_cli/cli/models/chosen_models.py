"""Which configured models a command of `mlops models` is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError

if TYPE_CHECKING:
    from mlops_cli.config.load import Branch
    from mlops_cli.config.schemas.project import ModelSpec


def branches_of(project: Project, branch: str | None) -> list[Branch]:
    """The branch of this name, or all."""
    from mlops_cli.config.load import load_branch, load_branches, load_params

    params = load_params(project)
    return [load_branch(project, params, branch)] if branch else list(load_branches(project, params).values())


def models_named(project: Project, branch: str | None, name: str) -> list[tuple[Branch, ModelSpec]]:
    """The models of this name, one of each branch that holds it; at least one.

    Raises:
        ConfigError: there is none.
    """
    from mlops_cli.config.mistakes import suggestion

    branches = branches_of(project, branch)
    found = [(one, spec) for one in branches for spec in one.models if spec.name == name]
    if not found:
        known = suggestion(name, [spec.name for one in branches for spec in one.models])
        raise ConfigError(f"no model {name!r} in params.yaml's branches{known}", "list them with: mlops models list")
    return found


def the_model_named(project: Project, branch: str | None, name: str) -> tuple[str, str]:
    """Branch and name of the one model of this name.

    Raises:
        ConfigError: there is none, or several branches hold one.
    """
    found = [one.name for one, _ in models_named(project, branch, name)]
    if len(found) > 1:
        raise ConfigError(f"{name} is in the branches {', '.join(found)}", f"say which: --branch {found[0]}")
    return found[0], name
