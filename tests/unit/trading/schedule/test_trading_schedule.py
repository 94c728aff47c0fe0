"""Schedules: when passes run, what the crontab says, and what is left alone in it."""

from __future__ import annotations

import stat
from datetime import time
from pathlib import Path

import pytest

from mlops_cli.errors import ServiceError
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


def passes(text: str) -> list[str]:
    return [line for line in text.splitlines() if "paper-trade --project" in line]


class TestTimes:
    def test_after_the_open_and_in_the_evening(self):
        assert JOB.times == (time(10), time(16, 25), time(17, 25), time(19, 25))

    def test_they_follow_the_window(self):
        late = Job(ROOT, JOB.program, ("red",), opens_minutes=45)
        assert late.times == (time(10), time(16, 50), time(17, 50), time(19, 50))

    def test_one_comes_when_late_prices_are_waited_for_no_longer(self):
        early = Job(ROOT, JOB.program, ("red",), opens_minutes=0)
        assert early.times[-1] == time(19, 25)


class TestCrontab:
    def test_every_team_has_its_passes(self):
        text = crontab(JOB)
        assert text.startswith("# mlops /srv/shares: begin\nCRON_TZ=America/New_York\n")
        assert text.endswith("# mlops /srv/shares: end\n")
        lines = passes(text)
        assert len(lines) == 8
        assert lines[0] == (
            "0 10 * * 1-5  /opt/venv/bin/mlops paper-trade --project /srv/shares --team blue "
            ">> /srv/shares/.mlops/logs/paper-trade-blue.log 2>&1"
        )

    def test_in_utc_each_pass_stands_at_its_time_in_winter_and_in_summer(self):
        text = crontab(Job(ROOT, JOB.program, ("red",)), utc=True)
        assert "CRON_TZ" not in text
        assert [" ".join(line.split()[:5]) for line in passes(text)] == [
            "0 15 * * 1-5",
            "0 14 * * 1-5",
            "25 21 * * 1-5",
            "25 20 * * 1-5",
            "25 22 * * 1-5",
            "25 0 * * 2-6",  # after midnight in UTC: the day after
            "25 23 * * 1-5",
        ]

    def test_percent_signs_and_blanks_are_quoted(self):
        odd = Job(Path("/srv/100 % mine"), JOB.program, ("red",))
        assert r"--project '/srv/100 \% mine'" in crontab(odd)

    def test_merging_again_changes_nothing(self):
        once = merged_crontab("", JOB)
        assert merged_crontab(once, JOB) == once

    def test_other_lines_stay_as_they_are(self):
        own = "# mine\n0 5 * * *  backup\n"
        merged = merged_crontab(own, JOB)
        assert merged.startswith(own)
        changed = merged_crontab(f"{merged}@reboot  something\n", Job(ROOT, JOB.program, ("red",)))
        assert changed.startswith(f"{own}@reboot  something\n")
        assert len(passes(changed)) == 4

    def test_the_block_of_another_project_stays(self):
        other = crontab(Job(Path("/srv/other"), JOB.program, ("red",)))
        assert merged_crontab(other, JOB) == other + crontab(JOB)


class TestFiles:
    def test_logs_are_rotated(self):
        text = rotation(JOB)
        assert text.splitlines()[:2] == [
            '"/srv/shares/.mlops/logs/paper-trade-blue.log"',
            '"/srv/shares/.mlops/logs/paper-trade-red.log" {',
        ]
        assert "    rotate 8\n" in text
        assert str(rotation_file(JOB)) in crontab(JOB)

    def test_units(self):
        files = units(JOB)
        assert sorted(files) == [
            "mlops-paper-trade-blue.service",
            "mlops-paper-trade-blue.timer",
            "mlops-paper-trade-red.service",
            "mlops-paper-trade-red.timer",
        ]
        timer = files["mlops-paper-trade-red.timer"]
        assert "OnCalendar=Mon..Fri *-*-* 16:25:00 America/New_York\n" in timer
        assert "Persistent=true" in timer
        assert (
            "ExecStart=/opt/venv/bin/mlops paper-trade --project /srv/shares --team red\n"
            in files["mlops-paper-trade-red.service"]
        )

    def test_percent_signs_are_doubled_for_systemd(self):
        files = units(Job(Path("/srv/50%"), JOB.program, ("red",)))
        assert "WorkingDirectory=/srv/50%%\n" in files["mlops-paper-trade-red.service"]


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
        assert install_units(job, folder) == ["mlops-paper-trade-red.timer"]
        assert {path.name: path.read_text() for path in folder.iterdir()} == units(job)
