"""`mlops models health`: how the models in use are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import BranchOption, JsonFlag, ProjectOption, open_project
from mlops_cli.cli.output import print_json, print_table, say, show
from mlops_cli.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_cli.config.paths import Project
    from mlops_cli.live.health.state import FleetHealth, Health, ModelHealth

STATES = ("healthy", "watch", "broken", "not judged")
Name = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="One model, with all changes of its state.", show_default=False)
]
StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help=f"Only these: {', '.join(STATES)}; repeatable.", show_default=False),
]


def health(
    name: Name = None,
    state: StateOption = None,
    branch: BranchOption = None,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show whether each model still forecasts as it did, since when and why not; `mlops live` judges every night."""
    from mlops_cli.live.watch.states import read_states

    project = open_project(folder)
    states = read_states(project)
    labels = _chosen(states, name, branch, _checked(state))
    if as_json:
        print_json(_as_json(project, states, labels, with_history=name is not None))
        return
    if not states.models:
        say("nothing was judged yet: mlops live")
        return
    show(_fleet_line(states.fleet, states))
    rows = [_row(label, states.models[label]) for label in labels]
    print_table(("STATE", "MODEL", "SINCE", "VERSION", "WHY"), rows)
    if name is not None:
        for label in labels:
            _show_history(project, label)


def _checked(states: Sequence[str] | None) -> Sequence[str]:
    """The chosen states, or all of them; a usage error if there is no such state."""
    for word in states or ():
        if word not in STATES:
            raise typer.BadParameter(f"--state {word}: choose from: {', '.join(STATES)}")
    return states or STATES


def _chosen(states: Health, name: str | None, branch: str | None, chosen: Sequence[str]) -> list[str]:
    """The labels of the models to show, the sickest first.

    Raises:
        ConfigError: no model has this name.
    """
    labels = [label for label in states.models if branch is None or label.startswith(f"{branch}/")]
    if name is not None and states.models:
        labels = _named(labels, name)
    order = {word: place for place, word in enumerate(("broken", "watch", "not judged", "healthy"))}
    shown = [label for label in labels if states.models[label].state in chosen]
    return sorted(shown, key=lambda label: (order[states.models[label].state], label))


def _named(labels: Sequence[str], name: str) -> list[str]:
    from mlops_cli.config.mistakes import suggestion

    named = [label for label in labels if name in (label, label.partition("/")[2])]
    if not named:
        similar = suggestion(name, [label.partition("/")[2] for label in labels])
        raise ConfigError(f"no model {name!r} is watched{similar}", "see all of them: mlops models health")
    return named


def _fleet_line(fleet: FleetHealth, states: Health) -> str:
    from mlops_cli.live.watch.states import counts

    numbers = ", ".join(f"{number} {word}" for word, number in counts(states).items())
    since = f" since {fleet.since}" if fleet.since else ""
    why = f": {fleet.reason}" if fleet.reason else ""
    return f"After the close of {states.session or 'no session yet'}: {numbers}. The fleet: {fleet.state}{since}{why}"


def _row(label: str, model: ModelHealth) -> Sequence[object]:
    return str(model.state), label, model.since, model.version, model.reason


def _show_history(project: Project, label: str) -> None:
    from mlops_cli.live.watch.states import read_history

    rows = [
        (
            line["session"],
            line["before"],
            line["after"],
            line["version"],
            f"new version after {line['retrained_from']}" if line["retrained_from"] else line["reason"],
        )
        for line in read_history(project, label)
    ]
    if rows:
        show(f"All changes of {label}, after the close of:")
        print_table(("SESSION", "BEFORE", "AFTER", "VERSION", "WHY"), rows)


def _as_json(project: Project, states: Health, labels: Sequence[str], *, with_history: bool) -> dict[str, Any]:
    from mlops_cli.live.watch.states import counts, read_history

    models = []
    for label in labels:
        model = states.models[label]
        entry: dict[str, Any] = {
            "branch": label.partition("/")[0],
            "model": label.partition("/")[2],
            "state": str(model.state),
            "since": model.since,
            "reason": model.reason,
            "version": model.version,
            "sessions": model.sessions,
        }
        if with_history:
            entry["history"] = read_history(project, label)
        models.append(entry)
    fleet = states.fleet
    about = {"state": str(fleet.state), "since": fleet.since, "reason": fleet.reason, "shock": fleet.shock}
    return {"session": states.session, "fleet": about, "counts": counts(states), "models": models}
