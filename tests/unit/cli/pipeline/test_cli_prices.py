"""`mlops prices show`, and what `mlops ingest` tells of repairs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.cli.pipeline.prices import plot
from mlops_cli.config.paths import Project
from mlops_cli.market.sessions import sessions
from tests.fakes.config_projects import make_project
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2022-01-01"), pd.Timestamp("2022-12-31"))
CONFIG = "team: red\ntickers: [GOOD, ZERO, BAD]\ntrainer: naive\n"


def csv(folder: Path, ticker: str, bars: pd.DataFrame) -> None:
    names = {name: name.replace("_", " ").title() for name in bars.columns}
    bars.rename(columns=names).rename_axis("Date").round(4).to_csv(folder / f"{ticker}.csv")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """GOOD is clean, ZERO has no opens for half of its rows, BAD is refused."""
    made = make_project(tmp_path / "project", {"configs/mine/red.yaml": CONFIG})
    made.params.write_text(f"{made.params.read_text()}\nsource: {{kind: csv}}\n")
    incoming = made.root / "data" / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    bars = generated_bars(SESSIONS, 1)
    csv(incoming, "GOOD", bars)
    half = bars.copy()
    half.iloc[:100, 0] = 0.0
    csv(incoming, "ZERO", half)
    slipped = bars.copy()
    slipped.iloc[-3, :5] *= 10
    csv(incoming, "BAD", slipped)
    return made


def mlops(project: Project, *words: str):
    return CliRunner().invoke(app, [*words, "--project", str(project.root)])


def test_ingest_ends_with_rules_counts_and_tickers(project):
    result = mlops(project, "ingest")
    assert result.exit_code == 9
    lines = result.stdout.splitlines()
    assert "ingest main: 2 done, 0 unchanged, 1 failed" in lines
    assert ["missing_open", "100", "1", "ZERO", "100"] in [line.split() for line in lines]
    assert "warning: ZERO: 100 of 251 rows repaired or dropped (40 %): missing_open 100" in result.stderr
    again = mlops(project, "ingest")
    assert "missing_open" in again.stdout, "unchanged tables are told too"


def test_verbose_and_json_give_every_rule_of_every_ticker(project):
    assert "2022-01-03, 2022-01-04" in mlops(project, "ingest", "-v").stdout
    (report,) = json.loads(mlops(project, "ingest", "--json").stdout)
    (zero,) = report["repairs"]
    assert (zero["ticker"], zero["touched"], zero["rows"]) == ("ZERO", 100, 251)
    assert zero["rules"][0]["rule"] == "missing_open"
    assert len(zero["rules"][0]["examples"]) == 5


def test_a_collection_without_repairs_prints_no_table(project):
    result = mlops(project, "ingest", "--only", "red-good")
    assert result.stdout.strip() == "ingest main: 1 done, 0 unchanged, 0 failed"


def test_show_prints_rows_source_repairs_and_a_plot(project):
    mlops(project, "ingest")
    result = mlops(project, "prices", "show", "zero")
    assert result.exit_code == 0
    for part in ("ZERO, branch main", "ZERO.csv", "exchange XNYS", "251 sessions, 2022-01-03 to 2022-12-30", "█",
                 "missing_open", "100 of 251 rows repaired or dropped (40 %)"):  # fmt: skip
        assert part in result.stdout
    days = re.findall(r"^ *(2022-\d\d-\d\d) +\d+\.\d", result.stdout, re.MULTILINE)
    assert days == [str(day.date()) for day in [*SESSIONS[:3], *SESSIONS[-3:]]]
    assert "nothing was repaired" in mlops(project, "prices", "show", "GOOD").stdout


def test_show_as_json(project):
    mlops(project, "ingest")
    (shown,) = json.loads(mlops(project, "prices", "show", "ZERO", "--json", "--branch", "main").stdout)
    assert (shown["branch"], shown["ticker"], shown["sessions"]) == ("main", "ZERO", 251)
    assert [row["session"] for row in shown["last_rows"]] == [str(day.date()) for day in SESSIONS[-3:]]
    assert shown["rules"][0]["count"] == 100


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["BAD"], "BAD: no stored prices, because ingest refused them: BAD: the close leaps", 4),
        (["NONE"], "NONE: no model has this ticker; tickers: BAD, GOOD, ZERO", 4),
        (["GOOD", "--branch", "other"], "other", 3),
    ],
)
def test_show_says_why_there_is_nothing(project, words, message, code):
    mlops(project, "ingest")
    result = mlops(project, "prices", "show", *words)
    assert (result.exit_code, message in result.stderr) == (code, True)


def test_show_before_ingest_says_what_to_run(project):
    result = mlops(project, "prices", "show", "GOOD")
    assert result.exit_code == 4
    assert "run: mlops ingest" in result.stderr


def test_a_damaged_record_is_named(project):
    mlops(project, "ingest")
    (project.prices("main") / "GOOD.json").write_text("{")
    result = mlops(project, "prices", "show", "GOOD")
    assert (result.exit_code, "GOOD.json" in result.stderr) == (4, True)


@pytest.mark.parametrize("count", [1, 2, 59, 60, 61, 5000])
def test_a_plot_fits_and_ends_with_the_days(count):
    lines = plot([100.0 + number % 7 for number in range(count)], "2022-01-03", "2022-12-30")
    assert len(lines) == 9
    assert max(map(len, lines)) <= 60 + 4 + 22
    assert lines[-1].split() == ["2022-01-03", "2022-12-30"]


def test_a_plot_rises_with_the_closes():
    lines = plot([float(number) for number in range(1, 61)], "a", "b")
    assert lines[0].startswith("60 ")
    assert lines[7].startswith(" 1 ")
    filled = [sum(len(line) > 3 + column and line[3 + column] != " " for line in lines[:8]) for column in range(60)]
    assert filled == sorted(filled)
    assert (filled[0], filled[-1]) == (1, 8)


def test_prices_that_never_move_are_plotted_in_the_middle():
    lines = plot([5.0] * 10, "a", "b")
    assert lines[7] == "5 ██████████"
    assert lines[0] == ""
