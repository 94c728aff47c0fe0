"""Stage `featurize`: price tables into one feature table per model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import DataError
from mlops_cli.features.build import build_features, input_columns
from mlops_cli.market.sessions import sessions
from mlops_cli.models.manifest import fingerprint
from mlops_cli.pipeline.stages.stage import (
    ItemFailure,
    Progress,
    StageReport,
    branch_lock,
    chosen,
    close_stage,
    failures_of,
    read_note,
)
from mlops_cli.pipeline.stages.tables import read_table, remove_other_tables, write_table
from mlops_cli.system.files import write_text
from mlops_cli.system.parallel import each

FEATURES_VERSION = 1  # raised when the code computes other features from the same prices
DAYS_AHEAD = 30  # days after the last price that surely hold the exchange's next session


def featurize(project: Project, branch: Branch, progress: Progress, only: str | None = None) -> StageReport:
    """Compute the feature tables of a branch's models whose prices or settings changed."""
    folder = project.features(branch.name)
    prices = project.prices(branch.name)
    report = StageReport("featurize", branch.name)
    models = chosen(branch.models, only)
    upstream = failures_of(prices, models)
    with branch_lock(project, branch.name, progress):
        progress.start(f"featurize {branch.name}", len(models))
        todo = _todo(prices, folder, models, upstream, report)
        progress.done(len(models) - len(todo))
        for task, failure in zip(todo, each(partial(_build, prices, folder), todo), strict=True):
            name = task.spec.name
            if failure is None:
                report.done.append(name)
            else:
                report.fail(name, failure)
            progress.doing(name)
            progress.done()
        report.carry(upstream)
        if only is None:
            remove_other_tables(folder, {spec.name for spec in branch.models})
        close_stage(folder, report, branch, only)
    return report


@dataclass(frozen=True)
class _Task:
    """A feature table to compute, and the fingerprint that it will have."""

    spec: ModelSpec
    mark: str


def _todo(
    prices: Path, folder: Path, models: list[ModelSpec], upstream: dict[str, ItemFailure], report: StageReport
) -> list[_Task]:
    """The tables that are missing, or were computed from other prices or settings; the other models are reported."""
    todo = []
    for spec in models:
        try:
            mark = _mark(prices, spec, upstream.get(spec.name))
        except DataError as error:
            report.fail(spec.name, error)
            continue
        note = read_note(folder / f"{spec.name}.json") or {}
        if (folder / f"{spec.name}.parquet").is_file() and note.get("fingerprint") == mark:
            report.unchanged.append(spec.name)
        else:
            todo.append(_Task(spec, mark))
    return todo


def _mark(prices: Path, spec: ModelSpec, upstream: ItemFailure | None) -> str:
    """Fingerprint of the prices and settings of a feature table; `upstream`: why there may be no prices."""
    notes = read_note(prices / f"{spec.ticker}.json")
    if notes is None or "sha256" not in notes:
        reason = upstream.reason if upstream else f"{spec.ticker}: no prices in {prices}"
        raise DataError(reason, "" if upstream else "run: mlops ingest")
    return fingerprint(
        {
            "prices": notes["sha256"],
            "features": spec.features.model_dump(mode="json"),
            "target": spec.target,
            "exchange": spec.exchange,
            "version": FEATURES_VERSION,
        }
    )


def _build(prices: Path, folder: Path, task: _Task) -> None:
    spec = task.spec
    note = folder / f"{spec.name}.json"
    note.unlink(missing_ok=True)
    table = build_table(prices, spec)
    write_table(folder, spec.name, table)
    facts = {"fingerprint": task.mark, "inputs": list(input_columns(spec.features, spec.target)), "rows": len(table)}
    write_text(note, json.dumps(facts, indent=2) + "\n")


def build_table(prices: Path, spec: ModelSpec) -> pd.DataFrame:
    """Compute the feature table of one model from its branch's price tables.

    Raises:
        DataError: there are no prices, or too few for the longest window.
    """
    bars = read_table(prices, spec.ticker)
    if bars is None:
        raise DataError(f"{spec.ticker}: no prices in {prices}", "run: mlops ingest")
    days = sessions(spec.exchange, bars.index[0], bars.index[-1] + pd.Timedelta(days=DAYS_AHEAD))
    return build_features(bars, spec.features, spec.target, days, spec.ticker)
