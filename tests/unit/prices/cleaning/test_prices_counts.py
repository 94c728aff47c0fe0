"""Repairs counted per ticker and per rule, from the files beside the price tables, without pandas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_cli.prices.cleaning.counts import RepairedPrices, by_rule, read_repairs, repairs_of


def note(ticker: str, sessions: int, **counts: int) -> dict:
    repairs = [{"rule": rule, "count": count, "examples": ["2024-01-02"]} for rule, count in counts.items()]
    return {"ticker": ticker, "sessions": sessions, "repairs": repairs}


def write(folder: Path, *notes: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for each in notes:
        (folder / f"{each['ticker']}.json").write_text(json.dumps(each))


@pytest.mark.parametrize(
    ("counts", "rows", "touched", "much"),
    [
        ({}, 100, 0, False),
        ({"missing_open": 5}, 100, 5, False),
        ({"missing_open": 6}, 100, 6, True),
        ({"nulls": 6}, 106, 6, True),
        ({"nulls": 5}, 105, 5, False),
        ({"missing_open": 90, "missing_range": 90}, 100, 100, True),
        ({"unfinished_sessions": 10}, 110, 10, True),
        (
            {"out_of_order": 99, "missing_sessions": 50, "adj_close_unclear": 20, "missing_adj_close": 100},
            100,
            0,
            False,
        ),
        ({"unadjusted_split": 6, "dividend_adjustment": 9}, 100, 0, False),
    ],
)
def test_the_share_of_rows_that_were_repaired_or_dropped(counts, rows, touched, much):
    repairs = repairs_of(note("T", 100, **counts))
    assert (repairs.rows, repairs.touched, repairs.much) == (rows, touched, much)


def test_an_empty_table_has_no_share():
    assert repairs_of(note("T", 0)).share == 0


def test_the_words_and_the_json():
    repairs = repairs_of(note("T", 400, out_of_order=3, missing_open=200))
    assert repairs.words == "200 of 400 rows repaired or dropped (50 %): missing_open 200"
    values = json.loads(json.dumps(repairs.to_dict()))
    assert (values["rows"], values["touched"], values["share"]) == (400, 200, 0.5)
    assert values["rules"][1] == {"rule": "missing_open", "count": 200, "examples": ["2024-01-02"]}


def test_rules_are_summed_over_tickers_with_the_most_touched_first():
    notes = [note(f"T{number}", 100, nulls=number) for number in range(1, 8)] + [note("A", 100, duplicates=2, nulls=7)]
    rows = by_rule([repairs_of(each) for each in notes])
    assert rows == [("nulls", 35, 8, "A 7, T7 7, T6 6, T5 5, T4 4"), ("duplicates", 2, 1, "A 2")]


def test_other_and_damaged_files_are_skipped_and_tickers_chosen(tmp_path):
    write(tmp_path, note("A", 10, nulls=1), note("B", 10))
    (tmp_path / "failures.json").write_text("[]")
    (tmp_path / "C.json").write_text("{")
    assert [repairs.ticker for repairs in read_repairs(tmp_path)] == ["A", "B"]
    assert [repairs.ticker for repairs in read_repairs(tmp_path, {"B", "Z"})] == ["B"]
    assert read_repairs(tmp_path / "none") == []


def test_warnings_of_a_server_follow_the_files(tmp_path):
    prices = RepairedPrices(tmp_path)
    assert prices.warnings() == {}
    write(tmp_path / "main", note("A", 90, nulls=10), note("B", 100, nulls=1))
    assert prices.warnings() == {"main/A": "10 of 100 rows repaired or dropped (10 %): nulls 10"}
    write(tmp_path / "main", note("A", 100))
    os.utime(tmp_path / "main", ns=(1, 1))  # as a rename into the folder does, which changes its time
    assert prices.warnings() == {}


def test_counting_imports_no_pandas():
    code = "import sys, mlops_cli.prices.cleaning.counts; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
