"""A collection large enough for several processes: the same files as one process writes, and failures as ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_cli.pipeline.stages.stage import StageReport
from mlops_cli.system import parallel
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import SmallProject, small_project

pytestmark = pytest.mark.slow

TICKERS = tuple(f"T{number:03d}" for number in range(9))
BROKEN, SHORT = "T003", "T006"


def many(root: Path) -> SmallProject:
    project = small_project(root, tickers=("AAA",))
    for seed, ticker in enumerate(TICKERS):
        project.prices(ticker, random_prices(660, seed) if ticker != SHORT else random_prices(100, seed))
    (root / "data" / "incoming" / f"{BROKEN}.csv").write_text("<html>")
    for path in (root / "configs" / "mine").iterdir():
        path.unlink()
    project.config("many", f"team: t\ntrainer: drift\nfeatures: {{returns: [1]}}\ntickers: [{', '.join(TICKERS)}]\n")
    return project


def results(project: SmallProject) -> dict[str, bytes | dict[str, str]]:
    """Every result file; of provenances all but when and from which folder."""
    found: dict[str, bytes | dict[str, str]] = {}
    for folder in ("data/prices", "data/features", "models", "simulation"):
        for path in (project.root / folder).rglob("*"):
            if path.is_file():
                name = str(path.relative_to(project.root))
                found[name] = path.read_bytes()
                if folder == "data/prices" and path.suffix == ".json" and path.name != "failures.json":
                    found[name] = json.loads(path.read_text()) | {"fetched_at": "", "origin": ""}
    return found


def outcome(reports: list[StageReport]) -> list[tuple[list[str], list[str], set[str]]]:
    return [(one.done, one.unchanged, {failure.model for failure in one.failures}) for one in reports]


def test_several_processes_write_what_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, spread = many(tmp_path / "alone"), many(tmp_path / "spread")
    alone_reports = alone.run()
    alone_summary, _ = alone.simulate()
    monkeypatch.setattr(parallel, "ITEMS_PER_WORKER", 3)  # as if there were hundreds of models
    if parallel.worker_count(len(TICKERS)) == 1:
        pytest.skip("one core: everything is done in one process")
    reports = spread.run()
    summary, _ = spread.simulate()
    names = [f"t-{ticker.lower()}" for ticker in TICKERS if ticker not in (BROKEN, SHORT)]
    assert outcome(reports) == outcome(alone_reports)
    assert reports[3].done == names
    assert {failure.model for failure in reports[2].failures} == {"t-t003", "t-t006"}
    assert summary == alone_summary
    found, expected = results(spread), results(alone)
    differing = [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]
    assert [name for name in differing if not name.endswith("failures.json")] == []  # these name the folder
