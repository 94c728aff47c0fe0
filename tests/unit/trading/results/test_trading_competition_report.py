"""What the competition's report says beside its table, for any mix of teams."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest
from rich.console import Console

from mlops_cli.config.schemas.trading import Costs
from mlops_cli.trading.results.competition import CASH, Market, TeamResult, compete, normalised
from mlops_cli.trading.results.competition_report import (
    competition_lines,
    competition_table,
    equity_figure,
    report_files,
)
from mlops_cli.trading.results.performance import fill_frame

SESSIONS = pd.DatetimeIndex(["2024-01-03", "2024-01-04", "2024-01-05"])
MARKET = Market(
    opens=pd.DataFrame({"AAA": [101.0, 109.0]}, SESSIONS[1:]),
    closes=pd.DataFrame({"AAA": [100.0, 110.0, 99.0]}, SESSIONS),
    dividends=pd.DataFrame({"AAA": [0.0, 0.0, 0.0]}, SESSIONS),
)
NO_SKILL = {"no skill, not traded": 3}


def book(team: str = "red", orders: int = 0, idle: dict[str, int] | None = None, models: int = 1) -> TeamResult:
    equity = pd.Series([1000.0, 1010.0 if orders else 1000.0, 1005.0 if orders else 1000.0], SESSIONS)
    names = tuple(f"{team}-{number}" for number in range(models))
    return TeamResult(team, equity, fill_frame([]), names, idle or {}, orders, 4)


def lines(*books: TeamResult, notes: tuple[str, ...] = ()) -> list[str]:
    return competition_lines(compete(books, MARKET, Costs(), notes))


def test_the_period_comes_first():
    assert lines(book(orders=2)) == ["2 sessions from 2024-01-04 to 2024-01-05, 1 stock, every team from 1,000 USD."]


@pytest.mark.parametrize(
    ("orders", "idle", "said"),
    [
        (0, None, "red: no trades: no forecast was strong enough."),
        (0, NO_SKILL, "red: no trades: 3 no skill, not traded."),
        (2, NO_SKILL, "red: 1 models traded, the others did not: 3 no skill, not traded."),
        (2, None, None),
    ],
)
def test_who_did_not_trade_and_why(orders, idle, said):
    found = [line for line in lines(book(orders=orders, idle=idle)) if line.startswith("red")]
    assert found == ([] if said is None else [said])


@pytest.mark.parametrize(
    ("books", "hint"),
    [
        ((book(idle=NO_SKILL),), True),
        ((book(idle=NO_SKILL), book("blue", orders=2)), False),
        ((book(),), False),
    ],
)
def test_how_to_let_them_trade_is_said_where_nobody_did(books, hint):
    assert any("--trade-without-skill" in line for line in lines(*books)) == hint


def test_notes_come_last():
    assert lines(book(orders=1), notes=("one", "two"))[-2:] == ["Note: one.", "Note: two."]


def test_what_is_undefined_is_a_dash():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(competition_table(compete([book()], MARKET, Costs())))
    row = next(line for line in console.export_text().splitlines() if "1. red" in line)
    assert row.split()[2:5] == ["+0.00", "-", "-"]


def test_a_deflated_sharpe_ratio_stands_beside_each_team():
    summary = compete([book(orders=2)], MARKET, Costs())
    assert summary["rows"][0]["deflated_sharpe"] is None, "two returns are too few"
    assert summary["notes"] == []


def test_files_of_equal_summaries_are_equal_and_hold_every_curve():
    summary = compete([book(orders=1), book("blue")], MARKET, Costs())
    files = report_files(summary)
    assert files == report_files(json.loads(files["competition.json"]))
    rows = list(csv.DictReader(io.StringIO(files["competition.csv"].decode())))
    assert [row["red"] for row in rows] == ["1000.0", "1010.0", "1005.0"]
    assert {row[CASH] for row in rows} == {"1000.0"}


def test_the_figure_has_a_curve_for_each_and_no_loss_for_cash():
    above, below = equity_figure(compete([book(orders=1)], MARKET, Costs())).axes
    assert len(above.lines) == 3
    assert len(below.lines) == 2


def test_curves_are_percent_gained():
    assert normalised([200.0, 210.0, 190.0]).tolist() == pytest.approx([0, 5, -5])
