"""Measures the nightly pass of a project with 600 tickers and three models each. `make bench-live` runs it.

.venv/bin/python tests/bench/bench_live.py --tickers 600 --write
.venv/bin/python tests/bench/bench_live.py --tickers 20 --keep FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this file is started by its path, and the imports below are relative to the repository

from mlops_cli.config.editing.params import set_values  # noqa: E402
from mlops_cli.config.paths import Project  # noqa: E402
from mlops_cli.live.journal.journal import Selection  # noqa: E402
from mlops_cli.live.journal.opening import open_journal, read_journal  # noqa: E402
from tests.bench.bench_processes import BenchError, Measured  # noqa: E402
from tests.bench.bench_projects import Workplace  # noqa: E402
from tests.bench.bench_report import Row, Section, machine, print_table, write_docs  # noqa: E402
from tests.bench.bench_training import MEGABYTE, figures  # noqa: E402
from tests.bench.live_project import TEAMS, LiveProject, live_project  # noqa: E402

NAME = "live"
DOCS = ROOT / "docs" / "benchmarks.md"
LAST_DAY = date(2026, 11, 27)
PASS_SECONDS, PASS_MEGABYTES = 60.0, 2000.0
RETRAIN_SECONDS, RETRAIN_MEGABYTES = 300.0, 4000.0
JOURNAL_SECONDS = 2.0
LEAST_ALL = 1800  # models that the targets are about


@dataclass(frozen=True)
class Night:
    """One pass: time and memory of its processes, and what its steps did in how many seconds."""

    measured: Measured
    seconds: dict[str, float]
    steps: dict[str, dict[str, Any]]

    def done(self, step: str) -> int:
        """How many items a step changed; 0 if there is no such step."""
        return int(self.steps[step]["done"]) if step in self.steps else 0


def measure_live(place: Workplace, tickers: int, sessions: int) -> Section:
    """Train a project, then run passes over a session with all models too old, with nothing due, and once more.

    Args:
        place: folder for all files.
        tickers: with one model per team of `live_project.TEAMS`.
        sessions: per price file.
    """
    section = Section(NAME)
    project = live_project(place, "live", [f"T{index:03d}" for index in range(tickers)], sessions, LAST_DAY)
    _say(f"mlops run over {project.models} models")
    run = place.run("mlops", "run", cwd=project.root, seconds=3600, memory=True)
    nights = _nights(place, project)
    _check(project, nights)
    journal = _journal_seconds(place, project)
    section.rows = [
        Row(f"`mlops run` from scratch, {project.models} models", run.wall, "s"),
        Row("the same: peak memory of all its processes", run.tree_bytes / MEGABYTE, "MB"),
        *_rows(project, run, nights, journal),
    ]
    section.raw = {
        "run": figures(run),
        "nights": {name: {**figures(night.measured), "steps": night.seconds} for name, night in nights.items()},
        "journal_seconds": journal,
    }
    return section


def _nights(place: Workplace, project: LiveProject) -> dict[str, Night]:
    """The passes: the first one, after a new session with nothing due, at once again, and with all models too old."""
    nights = {}
    _set(project, "live.retrain.at_most=0")
    nights["first"] = _night(place, project, 0)
    _set(project, "live.retrain.max_age_sessions=1000000")  # inputs that moved by chance are not trained either
    nights["new session"] = _night(place, project, 1)
    nights["again"] = _night(place, project, 1)
    _set(project, f"live.retrain.at_most={project.models}", "live.retrain.max_age_sessions=1")
    nights["retrained"] = _night(place, project, 2)
    return nights


def _set(project: LiveProject, *assignments: str) -> None:
    set_values(Project.at(project.root), assignments)


def _night(place: Workplace, project: LiveProject, number: int) -> Night:
    """Show the price files after a session of the project, and run a pass."""
    project.show(number)
    _say(f"pass after the close of {project.days[number]}")
    out = place.folder / "pass.json"
    now = project.evening(number).astimezone(UTC).isoformat()
    measured = place.run(
        "python", "-m", "tests.bench.live_pass", project.root, now, out, seconds=3600, memory=True, PYTHONPATH=str(ROOT)
    )
    result = json.loads(out.read_text())
    return Night(measured, result["seconds"], result["steps"])


def _check(project: LiveProject, nights: dict[str, Night]) -> None:
    """Check that each pass did its work.

    Raises:
        BenchError: a pass did not do what is measured.
    """
    all_models = project.models
    wanted = {
        "first": {"issue": all_models},
        "new session": {"ingest": all_models, "settle": all_models, "issue": all_models, "retrain": 0},
        "again": {"ingest": 0, "settle": 0, "issue": 0, "retrain": 0},
        "retrained": {"settle": all_models, "issue": all_models, "retrain": all_models},
    }
    for name, night in nights.items():
        for step, count in wanted[name].items():
            if night.done(step) != count:
                raise BenchError(f"{name}: step {step} did {night.done(step)} items, expected {count}")


def _journal_seconds(place: Workplace, project: LiveProject) -> float:
    """Seconds to write the forecasts of the newest night into a new journal, on the same disk."""
    with read_journal(Project.at(project.root).journal) as journal:
        newest = [issued.forecast for issued in journal.newest(Selection())]
    began = time.perf_counter()
    with open_journal(place.folder / "journal.db") as copy:
        issued = copy.issue(newest, datetime.now(UTC)).issued
    seconds = time.perf_counter() - began
    if issued != project.models:
        raise BenchError(f"{issued} of {project.models} forecasts were journaled")
    return seconds


def _rows(project: LiveProject, run: Measured, nights: dict[str, Night], journal: float) -> list[Row]:
    is_full = project.models >= LEAST_ALL
    rows = []
    for name, words, seconds, megabytes in (
        ("first", "the first `mlops live`, nothing retrained", None, None),
        ("new session", "`mlops live` after one new session, nothing due", PASS_SECONDS, PASS_MEGABYTES),
        ("again", "`mlops live` at once again: nothing to do", None, None),
        ("retrained", "`mlops live` after one new session, all retrained", RETRAIN_SECONDS, RETRAIN_MEGABYTES),
    ):
        rows += _night_rows(words, nights[name], run, (seconds, megabytes) if is_full else (None, None))
    for step, took in nights["new session"].seconds.items():
        rows.append(Row(f"one new session, nothing due: of it step {step}", took, "s"))
    rows.append(
        Row(
            f"of step issue: {project.models} forecasts into a journal",
            journal,
            "s",
            f"<= {JOURNAL_SECONDS:g} s" if is_full else "",
            met=journal <= JOURNAL_SECONDS if is_full else None,
        )
    )
    rows.append(Row("all retrained: of it step retrain", nights["retrained"].seconds["retrain"], "s"))
    return rows


def _night_rows(words: str, night: Night, run: Measured, most: tuple[float | None, float | None]) -> list[Row]:
    """Time and memory of a pass; `most`: seconds and megabytes at most, None where there is no target."""
    seconds, megabytes = most
    wall, peak = night.measured.wall, night.measured.tree_bytes / MEGABYTE
    return [
        Row(
            words,
            wall,
            "s",
            "" if seconds is None else f"<= {seconds:g} s",
            met=None if seconds is None else wall <= seconds,
            ratio=wall / run.wall,
            ratio_of="`mlops run`",
        ),
        Row(
            f"{words}: peak memory",
            peak,
            "MB",
            "" if megabytes is None else f"<= {megabytes:g} MB",
            met=None if megabytes is None else peak <= megabytes,
            ratio=night.measured.tree_bytes / run.tree_bytes,
            ratio_of="`mlops run`",
        ),
    ]


def _say(text: str) -> None:
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print, and on request write JSON and docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tickers", type=int, default=600, help=f"each has {len(TEAMS)} models")
    parser.add_argument("--sessions", type=int, default=1500, help="rows per price file")
    parser.add_argument(
        "--keep", type=Path, help="new folder for the project, kept afterwards; default: a temporary one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every run into FILE")
    parser.add_argument("--write", action="store_true", help=f"write the figures into {DOCS.relative_to(ROOT)}")
    options = parser.parse_args()
    if options.write and options.tickers * len(TEAMS) < LEAST_ALL:
        parser.error(f"fewer than {LEAST_ALL} models are not worth writing: leave out --write")
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="mlops-bench-", ignore_cleanup_errors=True) as folder:
        begun = time.monotonic()
        try:
            section = measure_live(Workplace(options.keep or Path(folder)), options.tickers, options.sessions)
        except BenchError as error:
            print(f"error: {NAME}: {error}", file=sys.stderr)
            return 1
        section.seconds = time.monotonic() - begun
    print_table([section], facts)
    if options.json:
        options.json.write_text(json.dumps({"machine": facts, "runs": section.raw}, indent=2) + "\n")
    if options.write:
        write_docs(DOCS, [section], facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
