"""Verdicts by model and version, and nothing at all where the file cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_cli.evaluation.verdicts import base_verdicts, verdicts

ROWS = [
    {"model": "red-a", "version": "v2", "verdict": "skill", "base_verdict": "adds to the base", "mae": 1.0},
    {"model": "red-a", "version": "v1", "verdict": "no skill", "pinned": True},
    {"model": "red-b", "version": "v1", "verdict": "worse than naive", "base_verdict": None},
]


def write(folder: Path, text: str) -> None:
    (folder / "models.json").write_text(text)


def test_each_version_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(ROWS))
    assert verdicts(tmp_path) == {
        ("red-a", "v2"): "skill",
        ("red-a", "v1"): "no skill",
        ("red-b", "v1"): "worse than naive",
    }
    assert base_verdicts(tmp_path) == {("red-a", "v2"): "adds to the base"}, "the others have no base"


@pytest.mark.parametrize(
    "text",
    ["", "[", "null", "3", '["red-a"]', '[{"model": "red-a"}]', '[{"model": "red-a", "verdict": "skill"}]'],
    ids=["empty", "half", "null", "number", "no rows", "no verdict", "no version"],
)
def test_what_cannot_be_read_holds_no_verdicts(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    assert verdicts(tmp_path) == {}
    assert base_verdicts(tmp_path) == {}


def test_where_nothing_was_evaluated_there_are_none(tmp_path: Path) -> None:
    assert verdicts(tmp_path / "absent") == {}
    write(tmp_path, "[]")
    assert verdicts(tmp_path) == {}
