"""`mlops models`: what is configured, what is trained, and one stock more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.project import (
    BranchOption,
    JsonFlag,
    OnlyOption,
    ProjectOption,
    command_group,
    open_project,
    print_json,
    print_table,
    say,
)
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from mlops_cli.config.load import Branch
    from mlops_cli.config.schema import ModelSpec

Tickers = Annotated[list[str], typer.Argument(metavar="TICKER", help="One or more, e.g. AAPL BRK-B.")]
Team = Annotated[str, typer.Option("--team", metavar="TEAM", help="Whose models they will be.")]
Folder = Annotated[str, typer.Option("--folder", metavar="DIR", help="Under configs/; the team's own if left out.")]
Name = Annotated[str, typer.Argument(metavar="MODEL", help="As mlops models list names it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group(help="List and show models; add a stock.")
    group.command("list")(list_)
    group.command()(show)
    group.command()(add)
    app.add_typer(group, name="models")


def list_(
    branch: BranchOption = None, only: OnlyOption = None, folder: ProjectOption = None, as_json: JsonFlag = False
) -> None:
    """List the configured models, and how good the trained ones were on their validation sessions."""
    project = open_project(folder)
    found = [
        _facts(project, one.name, spec, _manifest(project, one.name, spec.name))
        for one in _branches(project, branch)
        for spec in one.models
        if only is None or _fits(spec.name, only)
    ]
    if as_json:
        print_json(found)
        return
    columns = ("model", "branch", "ticker", "trainer", "trained until", "shrinkage", "MAE / naive")
    keys = ("name", "branch", "ticker", "trainer", "trained_until", "shrinkage", "mae_ratio")
    print_table(columns, [[_cell(fact[key]) for key in keys] for fact in found])
    missing = sum(fact["trained_until"] is None for fact in found)
    if missing:
        say(f"{missing} of {len(found)} not trained yet: mlops run")


def show(name: Name, branch: BranchOption = None, folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """Show one model: its config with all defaults filled in, and its manifest if it is trained."""
    import yaml

    from mlops_cli.config.mistakes import suggestion

    project = open_project(folder)
    branches = _branches(project, branch)
    matches = [(one, spec) for one in branches for spec in one.models if spec.name == name]
    if not matches:
        known = suggestion(name, [spec.name for one in branches for spec in one.models])
        raise ConfigError(f"no model {name!r} in params.yaml's branches{known}", "list them with: mlops models list")
    found = [
        {"branch": one.name, "config": spec.model_dump(mode="json"), "manifest": _manifest(project, one.name, name)}
        for one, spec in matches
    ]
    if as_json:
        print_json(found)
    else:
        typer.echo(yaml.safe_dump_all(found, sort_keys=False, allow_unicode=True).rstrip())


def add(tickers: Tickers, team: Team, where: Folder = "", folder: ProjectOption = None) -> None:
    """Add stocks to a team's model file, and the file to a branch of params.yaml where none holds it."""
    from mlops_cli.config.add_model import add_model

    say(*add_model(open_project(folder), team, tickers, where))
    typer.echo("mlops run")


def _branches(project: Project, branch: str | None) -> list[Branch]:
    from mlops_cli.config.load import load_branch, load_branches, load_params

    params = load_params(project)
    return [load_branch(project, params, branch)] if branch else list(load_branches(project, params).values())


def _fits(name: str, glob: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(name, glob)


def _manifest(project: Project, branch: str, model: str) -> dict[str, Any] | None:
    # read as plain JSON: the registry's own reader brings pandas with it
    path = project.models(branch) / model / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ModelError(f"{path}: no JSON: {error}", f"remove {path.parent} and run: mlops train") from error
    return manifest


def _facts(project: Project, branch: str, spec: ModelSpec, manifest: dict[str, Any] | None) -> dict[str, Any]:
    made = manifest or {}
    return {
        "name": spec.name,
        "branch": branch,
        "team": spec.team,
        "ticker": spec.ticker,
        "trainer": spec.trainer,
        "file": spec.file,
        "folder": str((project.models(branch) / spec.name).relative_to(project.root)),
        "trained_until": made.get("trained_until"),
        "shrinkage": made.get("shrinkage"),
        "mae_ratio": made.get("validation", {}).get("mae_ratio"),
        "fingerprint": made.get("fingerprint"),
    }


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
