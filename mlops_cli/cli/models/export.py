"""`mlops export`: a model repository for Triton or KServe."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli.models.chosen_models import branches_of
from mlops_cli.cli.shared import BranchOption, OnlyOption, ProjectOption, open_project, say
from mlops_cli.errors import EXIT_SOME_FAILED, ConfigError

STORAGE = "pvc://mlops-models"


class Format(StrEnum):
    """Whose layout."""

    TRITON = "triton"
    KSERVE = "kserve"


Target = Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")]
FormatOption = Annotated[Format, typer.Option("--format", help="Whose layout.", show_default=False)]
Storage = Annotated[
    str, typer.Option("--storage-uri", metavar="URI", help="kserve: where the cluster will find the folder models/.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    target: Target,
    layout: FormatOption,
    storage: Storage = STORAGE,
    branch: BranchOption = None,
    only: OnlyOption = None,
    folder: ProjectOption = None,
) -> None:
    """Write the trained models as a model repository that Triton or KServe serves as it is."""
    from mlops_cli.serving.export import export_kserve, export_triton

    project = open_project(folder)
    models = [(one.name, spec.name) for one in branches_of(project, branch) for spec in one.models]
    chosen = [(of, name) for of, name in models if only is None or fnmatchcase(name, only)]
    if not chosen:
        raise ConfigError(f"--only {only}: no model of that name", "list them with: mlops models list")
    if layout is Format.KSERVE:
        done = export_kserve(project.model_root, chosen, target.absolute(), storage)
    else:
        done = export_triton(project.model_root, chosen, target.absolute())
    typer.echo(f"{target}: {len(done.models)} models, {sum(map(len, done.models.values()))} versions")
    for name, error in done.failures.items():
        say(f"left out: {name}: {error.message}")
    if done.failures:
        raise typer.Exit(EXIT_SOME_FAILED)
