"""`mlops schedule`: the crontab or the systemd timers that run paper trading."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import ProjectOption, command_group, open_project, warn_of_exposed_files
from mlops_cli.cli.trading.paper_trade import TeamOption
from mlops_cli.errors import ConfigError

if TYPE_CHECKING:
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


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("schedule", help="Run paper trading by itself, in exchange time.")
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
    from mlops_cli.trading.schedule.schedule import install_crontab, install_units

    job = _job(folder, team)
    if how is How.SYSTEMD:
        units_folder = Path.home() / ".config" / "systemd" / "user"
        timers = " ".join(install_units(job, units_folder))
        print(f"written to {units_folder}. Start them with:")
        print(f"  systemctl --user daemon-reload && systemctl --user enable --now {timers}")
        print("  loginctl enable-linger   # so that they run while nobody is logged in")
        return
    install_crontab(job, utc=how is How.CRON_UTC)
    print(f"crontab: {len(job.teams)} teams, passes at {', '.join(f'{at:%H:%M}' for at in job.times)} New York time")


def _job(folder: Path | None, teams: list[str] | None) -> Job:
    from mlops_cli.cli.stage_calls import chosen_branches
    from mlops_cli.config.load import load_params
    from mlops_cli.pipeline.trade.paper_trade import teams_of
    from mlops_cli.trading.schedule.schedule import Job

    project = open_project(folder)
    warn_of_exposed_files(project)
    if not str(project.root).isprintable() or '"' in str(project.root):
        # it becomes a part of lines and units that cron, systemd and logrotate read
        text = f"{project.root}: no line of a crontab or unit can hold such a name"
        raise ConfigError(text, "rename the folder, without control characters and double quotes")
    scheduled = teams_of(chosen_branches(project, None), teams or [])
    program = Path(sys.executable).with_name("mlops")
    return Job(project.root, program, tuple(scheduled), load_params(project).trading.opens_minutes)
