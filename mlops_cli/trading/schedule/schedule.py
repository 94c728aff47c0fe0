"""Lines for cron and units for systemd, in exchange time, and installing them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from mlops_cli.errors import ServiceError
from mlops_cli.trading.passes.order_window import PRICES_UNTIL

ZONE = "America/New_York"
FOLLOW = time(10, 0)
"""Half an hour after the open: a pass books what was filled there."""
AFTER_MINUTES, EVENING_MINUTES = 5, (0, 60, 180)
"""After the window opens: data providers may be late, and a pass that finds its work done ends at once."""
CLOSE = time(16, 0)
WINTER, SUMMER = datetime(2024, 1, 15), datetime(2024, 7, 15)
BEGIN, END = "# mlops {root}: begin", "# mlops {root}: end"


@dataclass(frozen=True)
class Job:
    """What is run: a pass of each team with `program` (mlops), from `opens_minutes` after the close on."""

    root: Path
    program: Path
    teams: tuple[str, ...]
    opens_minutes: int = 20

    @property
    def times(self) -> tuple[time, ...]:
        """New York times of a weekday's passes. On half days the evening ones are later than needed, and still fit."""
        start = datetime.combine(WINTER, CLOSE) + timedelta(minutes=self.opens_minutes + AFTER_MINUTES)
        first, second, last = (start + timedelta(minutes=minutes) for minutes in EVENING_MINUTES)
        # one pass must come when late prices are waited for no longer
        end = datetime.combine(WINTER, PRICES_UNTIL) + timedelta(minutes=AFTER_MINUTES)
        return (FOLLOW, first.time(), second.time(), max(last, end).time())

    def command(self, team: str) -> str:
        """The command line of a team's pass."""
        return shlex.join([str(self.program), "paper-trade", "--project", str(self.root), "--team", team])

    def log(self, team: str) -> Path:
        """Where cron writes a team's log."""
        return self.root / ".mlops" / "logs" / f"paper-trade-{team}.log"


def crontab(job: Job, *, utc: bool = False) -> str:
    """Lines for a crontab, between marks by which they are found again.

    `utc` is for a cron that does not know CRON_TZ, on a server that keeps UTC: each pass stands at its time in winter
    and at that in summer. The one that comes too early says so and ends.
    """
    head = [] if utc else [f"CRON_TZ={ZONE}"]
    times = [moment for at in job.times for moment in (_in_utc(at) if utc else [at])]
    passes = [
        f"{at.minute} {at.hour} * * {'2-6' if utc and at.hour < 4 else '1-5'}  {_cron(job.command(team))} "
        f">> {_cron(shlex.quote(str(job.log(team))))} 2>&1"
        for team in job.teams
        for at in dict.fromkeys(times)
    ]
    state, config = job.root / ".mlops" / "logs" / "rotation.state", rotation_file(job)
    # cron's own PATH lacks the folder that Debian has logrotate in
    rotate = f"5 3 * * *  PATH=$PATH:/usr/sbin {_cron(shlex.join(['logrotate', '--state', str(state), str(config)]))}"
    tail = [] if utc else ["# CRON_TZ holds for every line below it: put lines of your own above this block"]
    lines = [BEGIN.format(root=job.root), *head, *passes, rotate, *tail, END.format(root=job.root)]
    return "\n".join(lines) + "\n"


def merged_crontab(present: str, job: Job, *, utc: bool = False) -> str:
    """A crontab with the job's lines in place of earlier ones; all other lines are unchanged."""
    begin, end = BEGIN.format(root=job.root), END.format(root=job.root)
    others, inside = [], False
    for line in present.splitlines():
        inside = inside or line == begin
        if not inside:
            others.append(line)
        inside = inside and line != end
    return "".join(f"{line}\n" for line in others) + crontab(job, utc=utc)


def rotation_file(job: Job) -> Path:
    """Where the rules of log rotation lie."""
    return job.root / ".mlops" / "logs" / "rotation.conf"


def rotation(job: Job) -> str:
    """Rules for logrotate: a week each, eight weeks kept."""
    logs = "\n".join(f'"{job.log(team)}"' for team in job.teams)
    rules = ["weekly", "rotate 8", "maxsize 20M", "missingok", "notifempty", "compress", "delaycompress"]
    return logs + " {\n" + "".join(f"    {rule}\n" for rule in rules) + "}\n"


def units(job: Job) -> dict[str, str]:
    """Systemd units by file name, a service and a timer for each team; journald keeps and rotates their logs."""
    files = {}
    for team in job.teams:
        name = f"mlops-paper-trade-{team}"
        calendar = "".join(f"OnCalendar=Mon..Fri *-*-* {at:%H:%M}:00 {ZONE}\n" for at in job.times)
        files[f"{name}.service"] = (
            f"[Unit]\nDescription=mlops paper-trade, team {team}\nWants=network-online.target\n"
            "After=network-online.target\n\n"
            f"[Service]\nType=oneshot\nWorkingDirectory={_unit(str(job.root))}\nExecStart={_unit(job.command(team))}\n"
            "TimeoutStartSec=30min\n"
        )
        files[f"{name}.timer"] = (
            f"[Unit]\nDescription=when team {team} trades\n\n[Timer]\n{calendar}Persistent=true\n"
            "RandomizedDelaySec=30\n\n[Install]\nWantedBy=timers.target\n"
        )
    return files


def _in_utc(at: time) -> list[time]:
    days = (WINTER, SUMMER)
    return [datetime.combine(day, at, ZoneInfo(ZONE)).astimezone(UTC).time() for day in days]


def _cron(command: str) -> str:
    return command.replace("%", r"\%")  # a bare % ends the command in a crontab


def _unit(text: str) -> str:
    return text.replace("%", "%%")


def install_crontab(job: Job, *, utc: bool = False) -> bool:
    """Write a job's lines into the user's crontab, and log rotation's rules; returns whether the crontab changed.

    Raises:
        ServiceError: there is no `crontab` command, or it failed.
    """
    rules = rotation_file(job)
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(rotation(job))
    present = _run_crontab(["-l"])
    merged = merged_crontab(present, job, utc=utc)
    if merged != present:
        _run_crontab(["-"], merged)
    return merged != present


def install_units(job: Job, folder: Path) -> list[str]:
    """Write a job's systemd units into a folder; returns the names of the timers."""
    folder.mkdir(parents=True, exist_ok=True)
    files = units(job)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [name for name in files if name.endswith(".timer")]


def _run_crontab(arguments: Sequence[str], text: str | None = None) -> str:
    try:
        done = subprocess.run(["crontab", *arguments], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ServiceError("there is no crontab command here", "install cron, or use: --with systemd") from None
    if done.returncode and not (arguments == ["-l"] and "no crontab" in done.stderr):
        raise ServiceError(f"crontab {arguments[0]} failed: {done.stderr.strip()}", "see: man crontab")
    return done.stdout
