"""Installing the schedule: lines in the user's crontab, or systemd units in the user's folder."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from mlops_cli.errors import ServiceError
from mlops_cli.trading.schedule.schedule import Job, merged_crontab, rotation, rotation_file, units


def install_crontab(job: Job, *, utc: bool = False) -> bool:
    """Write a job's lines into the user's crontab, and the rules of log rotation beside the logs.

    Args:
        job: what is run.
        utc: see `schedule.crontab`.

    Returns:
        Whether the crontab changed.

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
