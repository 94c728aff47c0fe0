"""`mlops config`: check the configs, show the keys that they may have."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import JsonFlag, ProjectOption, SetOption, command_group, open_project
from mlops_cli.cli.output import print_json, print_table

if TYPE_CHECKING:
    from pydantic import BaseModel


class File(StrEnum):
    """The kinds of config files."""

    MODEL = "model"
    BASE = "base"
    PARAMS = "params"
    SCENARIO = "scenario"


def register(app: typer.Typer) -> None:
    """Add `mlops config` and its commands to the app."""
    group = command_group(help="Check the configs; show the keys that they may have.")
    group.command()(check)
    group.command()(schema)
    app.add_typer(group, name="config")


def check(folder: ProjectOption = None, assignments: SetOption = None, as_json: JsonFlag = False) -> None:
    """Check every config file and count the models, or list all mistakes at once (exit 3)."""
    from mlops_cli.config.load import check_project

    branches = check_project(open_project(folder, assignments))
    models = {name: [model.name for model in branch.models] for name, branch in branches.items()}
    if as_json:
        print_json({"branches": models})
        return
    if models:
        print_table(("branch", "models", "source"), [(n, len(m), branches[n].source.kind) for n, m in models.items()])
    total = sum(map(len, models.values()))
    typer.echo(f"{_plural(len(models), 'branch', 'branches')}, {_plural(total, 'model', 'models')}, no mistakes")


def schema(
    file: Annotated[File | None, typer.Argument(help="One kind of file; default: all kinds.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show every key of the config files with its default; --json prints JSON Schemas."""
    from mlops_cli.config.schemas.descriptions import schema_keys

    kinds = [file] if file else list(File)
    described = _schemas()
    if as_json:
        schemas: dict[str, Any] = {kind.value: described[kind][1].model_json_schema() for kind in kinds}
        print_json(schemas[file.value] if file else schemas)
        return
    for kind in kinds:
        title, model = described[kind]
        typer.echo(title)
        rows = [(key.path, key.takes, key.default, key.description) for key in schema_keys(model)]
        print_table(("key", "takes", "default", "what it says"), rows)


def _schemas() -> dict[File, tuple[str, type[BaseModel]]]:
    from mlops_cli.config.schemas.project import BaseFile, ModelFile, Params, Scenario

    return {
        File.MODEL: ("configs/<team>/<name>.yaml", ModelFile),
        File.BASE: ("configs/base.yaml", BaseFile),
        File.PARAMS: ("params.yaml", Params),
        File.SCENARIO: ("simulation/<name>.yaml", Scenario),
    }


def _plural(count: int, singular: str, plural: str) -> str:
    return f"{count} {singular if count == 1 else plural}"
