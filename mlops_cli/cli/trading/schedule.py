"""`mlops schedule`: the crontab or the systemd timers that run paper trading."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.shared import ProjectOption, command_group, open_project
from mlops_cli.errors import ServiceError

if TYPE_CHECKING:
    from mlops_cli.trading.schedule.schedule import Job


class How(StrEnum):
    """What runs it."""

    CRON = "cron"
    CRON_UTC = "cron-utc"
    SYSTEMD = "systemd"


TeamOption = Annotated[
    list[str] | None,
    typer.Option("--team", metavar="TEAM", help="This team alone; repeatable. All if left out.", show_default=False),
]
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
    """Write the lines into your crontab, or the units into ~/.config/systemd/user; again changes nothing."""
    from mlops_cli.trading.schedule.schedule import merged_crontab, rotation, rotation_file, units

    job = _job(folder, team)
    if how is How.SYSTEMD:
        units_folder = Path.home() / ".config" / "systemd" / "user"
        units_folder.mkdir(parents=True, exist_ok=True)
        for name, text in units(job).items():
            (units_folder / name).write_text(text)
        timers = " ".join(name for name in units(job) if name.endswith(".timer"))
        print(f"written to {units_folder}. Start them with:")
        print(f"  systemctl --user daemon-reload && systemctl --user enable --now {timers}")
        print("  loginctl enable-linger   # so that they run while nobody is logged in")
        return
    rules = rotation_file(job)
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(rotation(job))
    present = _crontab("-l")
    wanted = merged_crontab(present, job, utc=how is How.CRON_UTC)
    if wanted != present:
        _crontab("-", wanted)
    print(f"crontab: {len(job.teams)} teams, passes at {', '.join(f'{at:%H:%M}' for at in job.times)} New York time")


def _job(folder: Path | None, teams: list[str] | None) -> Job:
    from mlops_cli.cli.stage_calls import chosen_branches
    from mlops_cli.config.load import load_params
    from mlops_cli.pipeline.trade.paper_trade import teams_of
    from mlops_cli.trading.schedule.schedule import Job

    project = open_project(folder)
    known = teams_of(chosen_branches(project, None), teams or [])
    program = Path(sys.executable).with_name("mlops")
    return Job(project.root, program, tuple(known), load_params(project).trading.opens_minutes)


def _crontab(argument: str, text: str | None = None) -> str:
    try:
        done = subprocess.run(["crontab", argument], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ServiceError("there is no crontab command here", "install cron, or use: --with systemd") from None
    if done.returncode and not (argument == "-l" and "no crontab" in done.stderr):
        raise ServiceError(f"crontab {argument} failed: {done.stderr.strip()}", "see: man crontab")
    return done.stdout
