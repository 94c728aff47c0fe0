"""Verdicts by model and version, and nothing at all where the file cannot be read."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from mlops_cli.evaluation.verdicts import base_verdicts, verdict_of, verdicts
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.versions import install_live_version
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import WEIGHTS, model_folder

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


def test_the_verdict_on_the_pipelines_version_counts_for_live_ones_of_its_config(tmp_path: Path) -> None:
    root = tmp_path / "models"
    own = read_manifest(model_folder(root / "main", "red-acme")).version
    live, other = (
        install_live_version(
            model_folder(tmp_path / f"made-{n}", "red-acme", linear_graph(WEIGHTS, n), trained_until=day, **changes),
            root,
            "main",
            "red-acme",
        )
        for n, day, changes in ((1, date(2016, 5, 2), {}), (2, date(2016, 6, 1), {"group": "fedcba987654"}))
    )
    judged = {("red-acme", own): "skill"}
    expected = {own: "skill", live: "skill", other: None, "0" * 12: None}
    assert {version: verdict_of(judged, root, "main", "red-acme", version) for version in expected} == expected
    judged["red-acme", live] = "no skill"
    assert verdict_of(judged, root, "main", "red-acme", live) == "no skill", "a verdict of its own comes first"
