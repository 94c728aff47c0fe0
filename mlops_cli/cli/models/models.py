"""`mlops models`: what is configured, what is trained, and one stock more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.models import versions
from mlops_cli.cli.models.chosen_models import branches_of, models_named
from mlops_cli.cli.shared import (
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
from mlops_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_cli.config.schemas.project import ModelSpec

    Verdicts = Mapping[tuple[str, str], str]

Tickers = Annotated[list[str], typer.Argument(metavar="TICKER", help="One or more, e.g. AAPL BRK-B.")]
Team = Annotated[str, typer.Option("--team", metavar="TEAM", help="Whose models they will be.")]
Folder = Annotated[str, typer.Option("--folder", metavar="DIR", help="Under configs/; the team's own if left out.")]
Name = Annotated[str, typer.Argument(metavar="MODEL", help="As mlops models list names it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group(help="List and show models; add a stock; promote a version.")
    group.command("list")(list_)
    group.command()(show)
    group.command()(add)
    group.command()(versions.promote)
    group.command()(versions.rollback)
    app.add_typer(group, name="models")


def list_(
    branch: BranchOption = None, only: OnlyOption = None, folder: ProjectOption = None, as_json: JsonFlag = False
) -> None:
    """List the configured models: error beside naive on their validation sessions, verdict on time they never saw."""
    from mlops_cli.evaluation.verdicts import verdicts

    project = open_project(folder)
    branches = branches_of(project, branch)
    judged = {one.name: verdicts(project.evaluation(one.name)) for one in branches}
    found = [
        _facts(project, one.name, spec, _manifest(project, one.name, spec.name), judged[one.name])
        for one in branches
        for spec in one.models
        if only is None or _fits(spec.name, only)
    ]
    if as_json:
        print_json(found)
        return
    columns = ("model", "branch", "ticker", "trainer", "trained until", "shrinkage", "MAE / naive", "verdict")
    keys = ("name", "branch", "ticker", "trainer", "trained_until", "shrinkage", "mae_ratio", "verdict")
    print_table(columns, [[_cell(fact[key]) for key in keys] for fact in found])
    missing = sum(fact["trained_until"] is None for fact in found)
    if missing:
        say(f"{missing} of {len(found)} not trained yet: mlops run")


def show(name: Name, branch: BranchOption = None, folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """Show one model: its config with all defaults filled in, and if it is trained manifest, verdict and versions."""
    import yaml

    from mlops_cli.evaluation.verdicts import verdicts

    project = open_project(folder)
    found = [
        {
            "branch": one.name,
            "config": spec.model_dump(mode="json"),
            "manifest": (manifest := _manifest(project, one.name, name)),
            "verdict": _verdict(project, (one.name, name), manifest, verdicts(project.evaluation(one.name))),
            **_versions(project, one.name, name),
        }
        for one, spec in models_named(project, branch, name)
    ]
    if as_json:
        print_json(found)
    else:
        typer.echo(yaml.safe_dump_all(found, sort_keys=False, allow_unicode=True).rstrip())


def add(tickers: Tickers, team: Team, where: Folder = "", folder: ProjectOption = None) -> None:
    """Add stocks to a team's model file, and the file to a branch of params.yaml where none holds it."""
    from mlops_cli.config.editing.add_model import add_model

    say(*add_model(open_project(folder), team, tickers, where))
    typer.echo("mlops run")


def _fits(name: str, glob: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(name, glob)


def _manifest(project: Project, branch: str, model: str) -> dict[str, Any] | None:
    # plain JSON: of an unfinished or older model as much as there is
    path = project.models(branch) / model / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ModelError(f"{path}: no JSON: {error}", f"remove {path.parent} and run: mlops train") from error
    return manifest


def _verdict(project: Project, of: tuple[str, str], manifest: dict[str, Any] | None, judged: Verdicts) -> str | None:
    """Of the version that answers."""
    from mlops_cli.models.versions import answering

    try:
        return None if manifest is None else judged.get((of[1], answering(project.model_root, *of).version))
    except ModelError:  # nothing answers
        return None


def _versions(project: Project, branch: str, model: str) -> dict[str, Any]:
    from mlops_cli.models.versions import champion, model_versions

    kept = model_versions(project.model_root, branch, model)
    record = champion(project.model_root, branch, model)
    return {
        "versions": [{"version": one.version, "trained_until": str(one.manifest.trained_until)} for one in kept],
        "champion": {"version": record.version, "pinned": record.pinned, "history": list(record.history)},
    }


def _facts(
    project: Project, branch: str, spec: ModelSpec, manifest: dict[str, Any] | None, judged: Verdicts
) -> dict[str, Any]:
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
        "verdict": _verdict(project, (branch, spec.name), manifest, judged),
        "fingerprint": made.get("fingerprint"),
    }


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
