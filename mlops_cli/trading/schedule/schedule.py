"""Lines for cron and units for systemd that run the nightly pass, in exchange time, and installing them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.trading.passes.order_window import PRICES_UNTIL

ZONE = "America/New_York"
FOLLOW = time(10, 0)
"""Half an hour after the open: each team's pass books what was filled there."""
AFTER_MINUTES, EVENING_MINUTES = 5, (0, 60, 180)
"""After the window opens: data providers may be late, and a pass that finds its work done ends at once."""
CLOSE = time(16, 0)
LONGEST = "2h"
"""After which systemd ends a pass: it may train hundreds of models."""
WINTER, SUMMER = datetime(2024, 1, 15), datetime(2024, 7, 15)
BEGIN, END = "# mlops {root}: begin", "# mlops {root}: end"


LIVE = "live"


@dataclass(frozen=True)
class Job:
    """What is run: `mlops live` from `opens_minutes` after the close on, and in the morning a pass of each team.

    Attributes:
        root: folder of the project.
        program: the mlops to run.
        teams: that have an account: in the morning, what was filled at the open is booked.
        opens_minutes: after the close, the time from which orders are sent.
    """

    root: Path
    program: Path
    teams: tuple[str, ...]
    opens_minutes: int = 20

    @property
    def times(self) -> tuple[time, ...]:
        """New York times of a weekday's nightly passes. On half days they are later than needed, and still fit."""
        start = datetime.combine(WINTER, CLOSE) + timedelta(minutes=self.opens_minutes + AFTER_MINUTES)
        first, second, last = (start + timedelta(minutes=minutes) for minutes in EVENING_MINUTES)
        # one pass must come when late prices are waited for no longer
        end = datetime.combine(WINTER, PRICES_UNTIL) + timedelta(minutes=AFTER_MINUTES)
        return (first.time(), second.time(), max(last, end).time())

    @property
    def passes(self) -> list[ScheduledPass]:
        """All that is run, in order of the logs."""
        project = ["--project", str(self.root)]
        nightly = ScheduledPass(LIVE, self._command([LIVE, *project]), self._log(LIVE), self.times, "the nightly pass")
        mornings = []
        for team in self.teams:
            name = f"paper-trade-{team}"
            command = self._command(["paper-trade", *project, "--team", team])
            mornings.append(ScheduledPass(name, command, self._log(name), (FOLLOW,), f"paper-trade, team {team}"))
        return [nightly, *mornings]

    def _command(self, words: Sequence[str]) -> str:
        return shlex.join([str(self.program), *words])

    def _log(self, name: str) -> Path:
        return self.root / ".mlops" / "logs" / f"{name}.log"


@dataclass(frozen=True)
class ScheduledPass:
    """A command that is run on weekdays.

    Attributes:
        name: of its log and units, without `mlops-`.
        command: the command line.
        log: where cron writes its output.
        times: in New York.
        about: what it is, in words.
    """

    name: str
    command: str
    log: Path
    times: tuple[time, ...]
    about: str


def crontab(job: Job, *, utc: bool = False) -> str:
    """Lines for a crontab, between marks by which they are found again.

    `utc` is for a cron that does not know CRON_TZ, on a server that keeps UTC: each pass stands at its time in winter
    and at that in summer. The one that comes too early says so and ends.
    """
    head = [] if utc else [f"CRON_TZ={ZONE}"]
    passes = [
        f"{at.minute} {at.hour} * * {'2-6' if utc and at.hour < 4 else '1-5'}  {_cron(scheduled.command)} "
        f">> {_cron(shlex.quote(str(scheduled.log)))} 2>&1"
        for scheduled in job.passes
        for at in dict.fromkeys(moment for time in scheduled.times for moment in (_in_utc(time) if utc else [time]))
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
    logs = "\n".join(f'"{scheduled.log}"' for scheduled in job.passes)
    rules = ["weekly", "rotate 8", "maxsize 20M", "missingok", "notifempty", "compress", "delaycompress"]
    return logs + " {\n" + "".join(f"    {rule}\n" for rule in rules) + "}\n"


def units(job: Job) -> dict[str, str]:
    """Systemd units by file name, a service and a timer for each pass; journald keeps and rotates their logs."""
    files = {}
    for scheduled in job.passes:
        name = f"mlops-{scheduled.name}"
        calendar = "".join(f"OnCalendar=Mon..Fri *-*-* {at:%H:%M}:00 {ZONE}\n" for at in scheduled.times)
        files[f"{name}.service"] = (
            f"[Unit]\nDescription=mlops {scheduled.about}\nWants=network-online.target\n"
            "After=network-online.target\n\n"
            f"[Service]\nType=oneshot\n{_of_project(job.root)}\nExecStart={_unit(scheduled.command)}\n"
            f"TimeoutStartSec={LONGEST}\n"
        )
        files[f"{name}.timer"] = (
            f"[Unit]\nDescription=when mlops {scheduled.about} runs\n\n[Timer]\n{calendar}Persistent=true\n"
            "RandomizedDelaySec=30\n\n[Install]\nWantedBy=timers.target\n"
        )
    return files


def _of_project(root: Path) -> str:
    """The line of a service by which one sees whose it is."""
    return f"WorkingDirectory={_unit(str(root))}"


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
    """Write a job's systemd units into a folder, and remove those of teams that have no pass any more.

    Returns:
        The names of the timers.

    Raises:
        ConfigError: the folder has units of these names that belong to another project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = units(job)
    mine, foreign = _installed(job.root, folder)
    taken = sorted(foreign.intersection(files))
    if taken:
        text = f"{folder / taken[0]} belongs to another project"
        raise ConfigError(text, "one user has units of one project: use cron, or another user: --with cron")
    for name in mine.difference(files):
        (folder / name).unlink()
        (folder / name).with_suffix(".timer").unlink(missing_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [name for name in files if name.endswith(".timer")]


def _installed(root: Path, folder: Path) -> tuple[set[str], set[str]]:
    """The services of mlops in a folder: those of this project, and those of others."""
    line = _of_project(root)
    services = {path.name: path.read_text().splitlines() for path in folder.glob("mlops-*.service")}
    mine = {name for name, lines in services.items() if line in lines}
    return mine, services.keys() - mine


def _run_crontab(arguments: Sequence[str], text: str | None = None) -> str:
    try:
        done = subprocess.run(["crontab", *arguments], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ServiceError("there is no crontab command here", "install cron, or use: --with systemd") from None
    if done.returncode and not (arguments == ["-l"] and "no crontab" in done.stderr):
        raise ServiceError(f"crontab {arguments[0]} failed: {done.stderr.strip()}", "see: man crontab")
    return done.stdout
