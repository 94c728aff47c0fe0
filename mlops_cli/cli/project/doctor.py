"""`mlops doctor`: check the machine and the project."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from mlops_cli.cli.options import JsonFlag, ProjectOption
from mlops_cli.cli.output import print_json, print_table
from mlops_cli.errors import EXIT_GATE_FAILED


def doctor(folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """Check this machine and the project for what a run needs (exit 10 if something must be repaired)."""
    from mlops_cli.scaffold.doctor import examine

    checks = list(examine(folder or Path()))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_table(("", "", "found", "what to do"), [(c.status, c.name, c.found, c.hint) for c in checks])
    if any(check.status == "failed" for check in checks):
        raise typer.Exit(EXIT_GATE_FAILED)
