"""`mlops export`: a model repository for Triton or KServe."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli.models.chosen_models import chosen_models
from mlops_cli.cli.options import BranchOption, OnlyOption, ProjectOption, open_project
from mlops_cli.cli.output import say
from mlops_cli.errors import EXIT_SOME_FAILED, ConfigError

DEFAULT_STORAGE_URI = "pvc://mlops-models"


class ModelServer(StrEnum):
    """The server that the model repository is for."""

    TRITON = "triton"
    KSERVE = "kserve"


Target = Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")]
FormatOption = Annotated[
    ModelServer, typer.Option("--format", help="The server that will read it.", show_default=False)
]
Storage = Annotated[
    str, typer.Option("--storage-uri", metavar="URI", help="For kserve: where the cluster finds the folder models/.")
]


def export(
    target: Target,
    layout: FormatOption,
    storage: Storage = DEFAULT_STORAGE_URI,
    branch: BranchOption = None,
    only: OnlyOption = None,
    folder: ProjectOption = None,
) -> None:
    """Write the trained models as a model repository that Triton or KServe can serve."""
    from mlops_cli.serving.export import export_kserve, export_triton

    project = open_project(folder)
    chosen = [(owner.name, spec.name) for owner, specs in chosen_models(project, branch, only) for spec in specs]
    if not chosen:
        raise ConfigError(
            f"{project.params}: branches: no models to export", "add one: mlops models add TICKER --team TEAM"
        )
    if layout is ModelServer.KSERVE:
        done = export_kserve(project.model_root, chosen, target.absolute(), storage)
    else:
        done = export_triton(project.model_root, chosen, target.absolute())
    typer.echo(f"{target}: {len(done.models)} models, {sum(map(len, done.models.values()))} versions")
    for name, error in done.failures.items():
        say(f"left out: {name}: {error.message}")
    if done.failures:
        raise typer.Exit(EXIT_SOME_FAILED)
