"""Schedules: when passes run, what the crontab says, and what is left alone in it."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import time
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.trading.schedule.schedule import (
    Job,
    crontab,
    install_crontab,
    install_units,
    merged_crontab,
    rotation,
    rotation_file,
    units,
)

ROOT = Path("/srv/shares")
JOB = Job(ROOT, Path("/opt/venv/bin/mlops"), ("blue", "red"))


def lines_of(text: str, command: str) -> list[str]:
    return [line for line in text.splitlines() if f"mlops {command} --project" in line]


def moments(lines: list[str]) -> list[str]:
    return [" ".join(line.split()[:5]) for line in lines]


class TestTimes:
    def test_in_the_evening(self):
        assert JOB.times == (time(16, 25), time(17, 25), time(19, 25))

    def test_they_follow_the_window(self):
        late = Job(ROOT, JOB.program, ("red",), opens_minutes=45)
        assert late.times == (time(16, 50), time(17, 50), time(19, 50))

    def test_one_comes_when_late_prices_are_waited_for_no_longer(self):
        early = Job(ROOT, JOB.program, ("red",), opens_minutes=0)
        assert early.times[-1] == time(19, 25)

    def test_in_the_morning_every_team_has_a_pass_that_books_the_open(self):
        assert [(scheduled.name, scheduled.times) for scheduled in JOB.passes] == [
            ("live", JOB.times),
            ("paper-trade-blue", (time(10),)),
            ("paper-trade-red", (time(10),)),
        ]


class TestCrontab:
    def test_the_nightly_pass_and_the_mornings(self):
        text = crontab(JOB)
        assert text.startswith("# mlops /srv/shares: begin\nCRON_TZ=America/New_York\n")
        assert text.endswith("# mlops /srv/shares: end\n")
        nightly, mornings = lines_of(text, "live"), lines_of(text, "paper-trade")
        assert moments(nightly) == ["25 16 * * 1-5", "25 17 * * 1-5", "25 19 * * 1-5"]
        assert nightly[0] == (
            "25 16 * * 1-5  /opt/venv/bin/mlops live --project /srv/shares >> /srv/shares/.mlops/logs/live.log 2>&1"
        )
        assert mornings == [
            f"0 10 * * 1-5  /opt/venv/bin/mlops paper-trade --project /srv/shares --team {team} "
            f">> /srv/shares/.mlops/logs/paper-trade-{team}.log 2>&1"
            for team in ("blue", "red")
        ]

    def test_without_an_account_there_is_the_nightly_pass_alone(self):
        text = crontab(Job(ROOT, JOB.program, ()))
        assert len(lines_of(text, "live")) == 3
        assert lines_of(text, "paper-trade") == []

    def test_in_utc_each_pass_stands_at_its_time_in_winter_and_in_summer(self):
        text = crontab(Job(ROOT, JOB.program, ("red",)), utc=True)
        assert "CRON_TZ" not in text
        assert moments(lines_of(text, "live")) == [
            "25 21 * * 1-5",
            "25 20 * * 1-5",
            "25 22 * * 1-5",
            "25 0 * * 2-6",  # after midnight in UTC: the day after
            "25 23 * * 1-5",
        ]
        assert moments(lines_of(text, "paper-trade")) == ["0 15 * * 1-5", "0 14 * * 1-5"]

    def test_percent_signs_and_blanks_are_quoted(self):
        odd = Job(Path("/srv/100 % mine"), JOB.program, ("red",))
        assert r"--project '/srv/100 \% mine'" in crontab(odd)

    def test_merging_again_changes_nothing(self):
        once = merged_crontab("", JOB)
        assert merged_crontab(once, JOB) == once

    def test_an_install_of_an_earlier_version_is_replaced(self):
        old = "# mlops /srv/shares: begin\nCRON_TZ=America/New_York\n25 16 * * 1-5  mlops paper-trade --team red\n"
        assert merged_crontab(f"{old}# mlops /srv/shares: end\n", JOB) == crontab(JOB)

    def test_other_lines_stay_as_they_are(self):
        own = "# mine\n0 5 * * *  backup\n"
        merged = merged_crontab(own, JOB)
        assert merged.startswith(own)
        changed = merged_crontab(f"{merged}@reboot  something\n", Job(ROOT, JOB.program, ("red",)))
        assert changed.startswith(f"{own}@reboot  something\n")
        assert len(lines_of(changed, "paper-trade")) == 1

    def test_the_block_of_another_project_stays(self):
        other = crontab(Job(Path("/srv/other"), JOB.program, ("red",)))
        assert merged_crontab(other, JOB) == other + crontab(JOB)


class TestFiles:
    def test_logs_are_rotated(self):
        text = rotation(JOB)
        assert text.splitlines()[:3] == [
            '"/srv/shares/.mlops/logs/live.log"',
            '"/srv/shares/.mlops/logs/paper-trade-blue.log"',
            '"/srv/shares/.mlops/logs/paper-trade-red.log" {',
        ]
        assert "    rotate 8\n" in text
        assert str(rotation_file(JOB)) in crontab(JOB)

    def test_units(self):
        files = units(JOB)
        assert sorted(files) == [
            f"mlops-{name}.{kind}"
            for name in ("live", "paper-trade-blue", "paper-trade-red")
            for kind in ("service", "timer")
        ]
        timer = files["mlops-live.timer"]
        assert "OnCalendar=Mon..Fri *-*-* 16:25:00 America/New_York\n" in timer
        assert "Persistent=true" in timer
        assert "ExecStart=/opt/venv/bin/mlops live --project /srv/shares\n" in files["mlops-live.service"]
        morning = files["mlops-paper-trade-red.timer"]
        assert [line for line in morning.splitlines() if line.startswith("OnCalendar")] == [
            "OnCalendar=Mon..Fri *-*-* 10:00:00 America/New_York"
        ]
        assert (
            "ExecStart=/opt/venv/bin/mlops paper-trade --project /srv/shares --team red\n"
            in files["mlops-paper-trade-red.service"]
        )

    def test_percent_signs_are_doubled_for_systemd(self):
        files = units(Job(Path("/srv/50%"), JOB.program, ("red",)))
        assert "WorkingDirectory=/srv/50%%\n" in files["mlops-live.service"]


CRON = """#!/bin/sh
# a crontab command that keeps its table in the file beside it
table="$(dirname "$0")/table"
case "$1" in
  -l) if [ -f "$table" ]; then cat "$table"; else echo "no crontab for me" >&2; exit 1; fi ;;
  -) cat > "$table" ;;
esac
"""


@pytest.fixture
def job(tmp_path) -> Job:
    return Job(tmp_path / "project", JOB.program, ("red",))


def command(tmp_path: Path, monkeypatch, script: str | None) -> Path:
    """Put a `crontab` command, or none, on the path; gives the file in which it keeps its table."""
    folder = tmp_path / "bin"
    folder.mkdir()
    if script is not None:
        (folder / "crontab").write_text(script)
        (folder / "crontab").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin" if script is not None else str(folder))
    return folder / "table"


class TestInstalling:
    def test_a_first_crontab(self, tmp_path, monkeypatch, job):
        table = command(tmp_path, monkeypatch, CRON)
        assert install_crontab(job)
        assert table.read_text() == crontab(job)
        assert rotation_file(job).read_text() == rotation(job)

    def test_again_changes_nothing(self, tmp_path, monkeypatch, job):
        table = command(tmp_path, monkeypatch, CRON)
        table.write_text("0 5 * * *  backup\n")
        assert install_crontab(job, utc=True)
        before = table.read_text()
        assert before.startswith("0 5 * * *  backup\n")
        assert not install_crontab(job, utc=True)
        assert table.read_text() == before

    def test_without_the_command_it_says_what_to_do(self, tmp_path, monkeypatch, job):
        command(tmp_path, monkeypatch, None)
        with pytest.raises(ServiceError, match="there is no crontab command here") as raised:
            install_crontab(job)
        assert "systemd" in (raised.value.hint or "")

    def test_a_command_that_fails_leaves_the_table_alone(self, tmp_path, monkeypatch, job):
        table = command(tmp_path, monkeypatch, "#!/bin/sh\necho 'you may not' >&2\nexit 1\n")
        with pytest.raises(ServiceError, match="crontab -l failed: you may not"):
            install_crontab(job)
        assert not table.exists()

    def test_units_are_written_into_a_folder(self, tmp_path, job):
        folder = tmp_path / "units" / "user"
        assert install_units(job, folder) == ["mlops-live.timer", "mlops-paper-trade-red.timer"]
        assert {path.name: path.read_text() for path in folder.iterdir()} == units(job)

    def test_units_of_a_team_without_a_pass_are_removed(self, tmp_path, job):
        folder = tmp_path / "units"
        install_units(replace(job, teams=("blue", "red")), folder)
        (folder / "mlops-mine.service").write_text("[Service]\nWorkingDirectory=/srv/other\n")
        install_units(job, folder)
        assert {path.name for path in folder.iterdir()} == {*units(job), "mlops-mine.service"}

    def test_units_of_another_project_are_left_alone(self, tmp_path, job):
        folder = tmp_path / "units"
        install_units(job, folder)
        before = {path.name: path.read_text() for path in folder.iterdir()}
        with pytest.raises(ConfigError, match="belongs to another project"):
            install_units(replace(job, root=tmp_path / "other"), folder)
        assert {path.name: path.read_text() for path in folder.iterdir()} == before
