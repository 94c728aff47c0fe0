"""Stage `featurize`: price tables into one feature table per model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Base, ModelSpec
from mlops_cli.errors import DataError
from mlops_cli.features.build import ANNOUNCED, build_features, input_columns
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
from mlops_cli.prices.actions.dividends import restated
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings
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
    """A feature table to compute, the fingerprint that it will have, and the base of its model."""

    spec: ModelSpec
    mark: str
    base: Base


def _todo(
    prices: Path, folder: Path, models: list[ModelSpec], upstream: dict[str, ItemFailure], report: StageReport
) -> list[_Task]:
    """The tables that are missing, or were computed from other prices or settings; the other models are reported."""
    todo = []
    for spec in models:
        try:
            base = _base(prices, spec)
            mark = _mark(prices, spec, base, upstream.get(spec.name))
        except DataError as error:
            report.fail(spec.name, error)
            continue
        note = read_note(folder / f"{spec.name}.json") or {}
        if (folder / f"{spec.name}.parquet").is_file() and note.get("fingerprint") == mark:
            report.unchanged.append(spec.name)
        else:
            todo.append(_Task(spec, mark, base))
    return todo


def _base(prices: Path, spec: ModelSpec) -> Base:
    """The base of a model: what its config says, or what is known of its ticker's dividends.

    Raises:
        DataError: the base subtracts dividends, but nothing is known of them.
    """
    if spec.trainer != "ludwig":
        return "none"  # baselines are what models are compared with
    if spec.base in ("none", "drift"):
        return spec.base
    known = dividends_file(prices, spec.ticker).is_file()
    if spec.base == "auto":
        return "drift_dividend" if known else "none"
    if not known:
        raise DataError(
            f"{spec.name}: base: {spec.base} needs the dividends of {spec.ticker}, which are not known: "
            "its prices have no adjusted close",
            "use a source with adjusted closes or dividends, or set base: none",
        )
    return spec.base


def _mark(prices: Path, spec: ModelSpec, base: Base, upstream: ItemFailure | None) -> str:
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
            **({"base": base} if base != "none" else {}),
            **({"dividends": dividends_file(prices, spec.ticker).read_text()} if _has_dividends(base) else {}),
        }
    )


def _has_dividends(base: Base) -> bool:
    return base in ("dividend", "drift_dividend")


def _build(prices: Path, folder: Path, task: _Task) -> None:
    spec = task.spec
    note = folder / f"{spec.name}.json"
    note.unlink(missing_ok=True)
    table = build_table(prices, spec, task.base)
    write_table(folder, spec.name, table)
    inputs = [*input_columns(spec.features, spec.target), *([ANNOUNCED] if _has_dividends(task.base) else [])]
    facts = {"fingerprint": task.mark, "inputs": inputs, "rows": len(table), "base": task.base}
    write_text(note, json.dumps(facts, indent=2) + "\n")


def build_table(prices: Path, spec: ModelSpec, base: Base = "none") -> pd.DataFrame:
    """Compute the feature table of one model from its branch's price tables.

    Raises:
        DataError: there are no prices, or too few for the longest window.
    """
    bars = read_table(prices, spec.ticker)
    if bars is None:
        raise DataError(f"{spec.ticker}: no prices in {prices}", "run: mlops ingest")
    days = sessions(spec.exchange, bars.index[0], bars.index[-1] + pd.Timedelta(days=DAYS_AHEAD))
    dividends = None
    if _has_dividends(base):
        dividends = restated(read_sightings(dividends_file(prices, spec.ticker)) or [], bars["close"])
    return build_features(bars, spec.features, spec.target, days, spec.ticker, dividends)
