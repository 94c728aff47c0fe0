"""`mlops init`: start a project from a template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli.output import say
from mlops_cli.scaffold.init import Template, start_project


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the new project; created if missing.")],
    template: Annotated[Template, typer.Option(help="The configs to start with.")] = Template.DEMO,
) -> None:
    """Start a project: configs, params.yaml, the DVC pipeline, and a git repository around them.

    demo runs offline on sample prices; red-vs-blue compares two teams on Yahoo prices; blank has no model yet.
    """
    started = start_project(folder, template)
    say(f"{folder}: {len(started.files)} files from template {template}{', committed' if started.committed else ''}")
    if started.remark:
        say(started.remark)
    steps = ["mlops models add AAPL --team red"] if template is Template.BLANK else []
    typer.echo("\n".join([f"cd {folder}", *steps, "mlops run"]))
