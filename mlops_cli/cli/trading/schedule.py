"""`mlops schedule`: the crontab or the systemd timers that run the nightly pass."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import ProjectOption, command_group, open_project, warn_of_exposed_files
from mlops_cli.cli.output import say
from mlops_cli.errors import ConfigError

if TYPE_CHECKING:
    from mlops_cli.config.load import Branch
    from mlops_cli.config.paths import Project
    from mlops_cli.trading.schedule.schedule import Job


class How(StrEnum):
    """The program that runs the passes."""

    CRON = "cron"
    CRON_UTC = "cron-utc"
    SYSTEMD = "systemd"


HowOption = Annotated[
    How,
    typer.Option(
        "--with",
        help="cron: one that knows CRON_TZ (cronie); cron-utc: any other, on a server in UTC; systemd: timers.",
    ),
]

TeamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--team",
        metavar="TEAM",
        help="Which teams' fills are booked in the morning; repeatable. Default: all that have an account.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("schedule", help="Run the nightly pass by itself, in exchange time.")
    group.command()(show)
    group.command()(install)
    app.add_typer(group)


def show(how: HowOption = How.CRON, team: TeamOption = None, folder: ProjectOption = None) -> None:
    """Print what `install` would install."""
    from mlops_cli.trading.schedule.schedule import crontab, rotation, rotation_file, units

    job = _job(folder, team)
    if how is How.SYSTEMD:
        for name, text in units(job).items():
            print(f"# {name}\n{text}")
        return
    print(crontab(job, utc=how is How.CRON_UTC))
    print(f"# {rotation_file(job)}\n{rotation(job)}", end="")


def install(how: HowOption = How.CRON, team: TeamOption = None, folder: ProjectOption = None) -> None:
    """Write the lines into your crontab, or the units into ~/.config/systemd/user. A second install changes nothing."""
    from mlops_cli.trading.schedule.schedule import FOLLOW, install_crontab, install_units

    job = _job(folder, team)
    if how is How.SYSTEMD:
        units_folder = Path.home() / ".config" / "systemd" / "user"
        timers = " ".join(install_units(job, units_folder))
        print(f"written to {units_folder}. Start them with:")
        print(f"  systemctl --user daemon-reload && systemctl --user enable --now {timers}")
        print("  loginctl enable-linger   # so that they run while nobody is logged in")
        return
    install_crontab(job, utc=how is How.CRON_UTC)
    print(f"crontab: mlops live at {_listed(job.times)}, New York time")
    if job.teams:
        print(f"and mlops paper-trade at {FOLLOW:%H:%M}, which books the fills of the open: {', '.join(job.teams)}")


def _listed(times: Sequence[time]) -> str:
    return ", ".join(f"{at:%H:%M}" for at in times)


def _job(folder: Path | None, teams: list[str] | None) -> Job:
    from mlops_cli.cli.stage_calls import chosen_branches
    from mlops_cli.config.load import load_params
    from mlops_cli.trading.schedule.schedule import Job

    project = open_project(folder)
    warn_of_exposed_files(project)
    if not str(project.root).isprintable() or '"' in str(project.root):
        # it becomes a part of lines and units that cron, systemd and logrotate read
        text = f"{project.root}: no line of a crontab or unit can hold such a name"
        raise ConfigError(text, "rename the folder, without control characters and double quotes")
    branches = chosen_branches(project, None)
    scheduled = _teams(project, branches, teams or [])
    _say_exchanges(branches)
    program = Path(sys.executable).with_name("mlops")
    return Job(project.root, program, tuple(scheduled), load_params(project).trading.opens_minutes)


def _teams(project: Project, branches: Sequence[Branch], chosen: Sequence[str]) -> Sequence[str]:
    """The teams that get a pass in the morning: the chosen ones, or else those that have an account.

    Raises:
        ConfigError: a team has no model.
    """
    from mlops_cli.config.settings import given_keys, load_settings
    from mlops_cli.pipeline.trade.paper_trade import check_team

    for team in chosen:
        check_team(branches, team)
    if chosen:
        return list(dict.fromkeys(chosen))
    names = sorted({spec.team for branch in branches for spec in branch.models})
    with_account = list(given_keys(load_settings(project), names))
    without = [name for name in names if name not in with_account]
    if without:
        say(f"no keys of an account in .env: {', '.join(without)}; once there are, install the schedule again")
    return with_account


def _say_exchanges(branches: Sequence[Branch]) -> None:
    """Say at what time the sessions of exchanges in other time zones are worked on."""
    from mlops_cli.market.sessions import exchange_timezone
    from mlops_cli.trading.schedule.schedule import ZONE

    exchanges = sorted({spec.exchange for branch in branches for spec in branch.models})
    others = [exchange for exchange in exchanges if exchange_timezone(exchange) != ZONE]
    if others:
        say(f"models on {', '.join(others)}: the same passes, at New York time, work on their last finished sessions")
