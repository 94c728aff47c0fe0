"""Models that no file of `configs/` describes: a job asked for them, and its worker stored their configs.

They are the branch `requested`, which exists only where there are such models. `mlops run` does not know it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlops_cli.config.load import Branch
from mlops_cli.config.mistakes import BROKEN, Mistakes
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec, Params
from mlops_cli.errors import ConfigError
from mlops_cli.system.files import write_text

REQUESTED = "requested"
"""Name of the branch."""


def with_requested(project: Project, params: Params, branches: Mapping[str, Branch]) -> dict[str, Branch]:
    """Add the branch of the requested models, if there are any.

    Its source, period and other settings are those of params.yaml, without what a branch overrides. A requested model
    whose name a model of another branch has is left out: that one answers.

    Raises:
        ConfigError: a stored config is damaged, or params.yaml has a branch of this name as well.
    """
    taken = {spec.name for branch in branches.values() for spec in branch.models}
    specs = [spec for spec in requested_specs(project) if spec.name not in taken]
    if not specs:
        return dict(branches)
    check_name_is_free(params)
    return {**branches, REQUESTED: requested_branch(params, specs)}


def check_name_is_free(params: Params) -> None:
    """Raise a `ConfigError` if params.yaml has a branch with the name of the branch of requested models."""
    if REQUESTED in params.branches:
        raise ConfigError(
            f"params.yaml: branches.{REQUESTED}: models that jobs ask for are kept under this name",
            "give the branch another name",
        )


def requested_branch(params: Params, specs: Iterable[ModelSpec]) -> Branch:
    """The branch `requested` with these models, at least one, and the settings of the project."""
    models = tuple(specs)
    names = {spec.name for spec in models}
    return Branch(
        name=REQUESTED,
        models=tuple(spec if spec.small in names else spec.model_copy(update={"small": None}) for spec in models),
        source=params.source,
        period=params.period,
        training=params.training,
        seed=params.seed,
        scenario=params.simulation.scenario,
        keep_versions=params.serving.keep_versions,
        intervals=params.intervals,
    )


def requested_specs(project: Project) -> list[ModelSpec]:
    """The models whose configs are stored, by name; a `ConfigError` if any of the files is damaged."""
    mistakes = Mistakes()
    specs = []
    for path in sorted(project.requested.glob("[!.]*.json"), key=lambda path: path.stem):
        file = str(path.relative_to(project.root))
        spec = mistakes.validate(ModelSpec, _content(path, file, mistakes), file)
        if spec is not None and spec.name != path.stem:
            mistakes.add(file, f"it holds the model {spec.name}")
        elif spec is not None:
            specs.append(spec.model_copy(update={"file": file}))
    mistakes.raise_if_any("remove the file, and submit the model again")
    return specs


def store_requested(project: Project, spec: ModelSpec) -> None:
    """Store the config of a requested model; one of the same name is replaced."""
    values = spec.model_dump(mode="json", exclude={"file"})
    write_text(project.requested / f"{spec.name}.json", json.dumps(values, indent=2) + "\n")


def forget_requested(project: Project, name: str) -> None:
    """Remove the config of a requested model, if there is one."""
    (project.requested / f"{name}.json").unlink(missing_ok=True)


def _content(path: Path, file: str, mistakes: Mistakes) -> Any:
    """What a file holds. JSON, because YAML would take a hundred times as long for a thousand models."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        mistakes.add(file, "is no JSON")
    except OSError as error:
        mistakes.add(file, f"cannot be read: {error.strerror}")
    return BROKEN
