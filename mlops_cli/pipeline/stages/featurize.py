"""Stage `featurize`: price tables into one feature table per model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED
from mlops_cli.config.schemas.project import Base, ModelSpec
from mlops_cli.errors import DataError
from mlops_cli.features.build import Extras, build_features, input_columns
from mlops_cli.models.manifest import fingerprint
from mlops_cli.pipeline.stages.interval_pools import IntervalPools, Pool
from mlops_cli.pipeline.stages.stage import (
    ItemFailure,
    Only,
    Progress,
    StageReport,
    branch_lock,
    chosen,
    close_stage,
    failures_of,
    read_note,
)
from mlops_cli.pipeline.stages.stored_bars import read_bars
from mlops_cli.pipeline.stages.tables import copy_table, remove_other_tables, write_table
from mlops_cli.prices.actions.sightings_file import dividends_file
from mlops_cli.system.files import write_text
from mlops_cli.system.parallel import each

FEATURES_VERSION = 1  # raised when the code computes other features from the same prices
WIDTHS_VERSION = 1  # the same for the widths of intervals


def featurize(project: Project, branch: Branch, progress: Progress, only: Only = None) -> StageReport:
    """Compute the feature tables of a branch's models whose prices or settings changed."""
    folder = project.features(branch.name)
    prices = project.prices(branch.name)
    report = StageReport("featurize", branch.name)
    models = chosen(branch.models, only)
    upstream = failures_of(prices, models)
    with branch_lock(project, branch.name, progress):
        progress.start(f"featurize {branch.name}", len(models))
        pools = _pools(prices, branch)
        todo = _todo(pools, folder, models, upstream, report)
        progress.done(len(models) - len(todo))
        quantiles = pools.quantiles(task.pool for task in todo)
        tables = _equal_tables(todo)
        for tasks, failure in zip(tables, each(partial(_build, prices, folder, quantiles), tables), strict=True):
            for task in tasks:
                name = task.spec.name
                if failure is None:
                    report.done.append(name)
                else:
                    report.fail(name, failure)
                progress.doing(name)
                progress.done()
        report.carry(upstream)
        if only is None and branch.name != REQUESTED:  # a job may just be adding a model there
            remove_other_tables(folder, {spec.name for spec in branch.models})
        close_stage(folder, report, branch, only)
    return report


@dataclass(frozen=True)
class _Task:
    """A feature table to compute.

    `mark` is the fingerprint that it will have, `base` the base of its model, `levels` those of its intervals, `pool`
    the stocks that these are made of, or None for its own stock.
    """

    spec: ModelSpec
    mark: str
    base: Base
    levels: tuple[float, ...]
    pool: Pool | None


def _pools(prices: Path, branch: Branch) -> IntervalPools:
    """The pools of all models of a branch, whichever of them are featurized now; none if each stock is on its own."""
    pools = IntervalPools(prices, branch.intervals)
    for spec in branch.models:
        with contextlib.suppress(DataError):  # reported where the model itself is planned
            pools.add(spec.ticker, spec.exchange, _has_dividends(_base(prices, spec)))
    return pools


def _todo(
    pools: IntervalPools, folder: Path, models: list[ModelSpec], upstream: dict[str, ItemFailure], report: StageReport
) -> list[_Task]:
    """The tables that are missing, or were computed from other prices or settings; the other models are reported."""
    todo = []
    for spec in models:
        try:
            base = _base(pools.prices, spec)
            pool = pools.of(spec.exchange, _has_dividends(base))
            mark = fingerprint(
                {
                    **_mark_parts(pools.prices, spec, base, upstream.get(spec.name)),
                    "widths": [WIDTHS_VERSION, pools.settings.model_dump(mode="json"), pools.mark(pool)],
                }
            )
        except DataError as error:
            report.fail(spec.name, error)
            continue
        note = read_note(folder / f"{spec.name}.json") or {}
        if (folder / f"{spec.name}.parquet").is_file() and note.get("fingerprint") == mark:
            report.unchanged.append(spec.name)
        else:
            todo.append(_Task(spec, mark, base, pools.settings.levels, pool))
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


def _mark_parts(prices: Path, spec: ModelSpec, base: Base, upstream: ItemFailure | None) -> dict[str, Any]:
    """The prices and settings that decide the features of a model; `upstream`: why there may be no prices."""
    notes = read_note(prices / f"{spec.ticker}.json")
    if notes is None or "sha256" not in notes:
        reason = upstream.reason if upstream else f"{spec.ticker}: no prices in {prices}"
        raise DataError(reason, "" if upstream else "run: mlops ingest")
    return {
        "prices": notes["sha256"],
        "features": spec.features.model_dump(mode="json"),
        "target": spec.target,
        "exchange": spec.exchange,
        "version": FEATURES_VERSION,
        **({"base": base} if base != "none" else {}),
        **({"dividends": dividends_file(prices, spec.ticker).read_text()} if _has_dividends(base) else {}),
    }


def _has_dividends(base: Base) -> bool:
    return base in ("dividend", "drift_dividend")


def _equal_tables(tasks: Sequence[_Task]) -> list[list[_Task]]:
    """The tasks by ticker and fingerprint: models of one ticker with one feature set have equal tables."""
    equal: dict[tuple[str, str], list[_Task]] = {}
    for task in tasks:
        equal.setdefault((task.spec.ticker, task.mark), []).append(task)
    return list(equal.values())


def _build(prices: Path, folder: Path, fleets: Mapping[Pool, pd.DataFrame], tasks: Sequence[_Task]) -> None:
    """Build the table of the first task, and copy it for the others, whose tables are equal."""
    task, names = tasks[0], [task.spec.name for task in tasks]
    for name in names:
        (folder / f"{name}.json").unlink(missing_ok=True)
    spec = task.spec
    quantiles = fleets[task.pool] if task.pool else None
    table = build_table(prices, spec, task.base, task.levels, quantiles)
    write_table(folder, names[0], table)
    extras = Extras([] if _has_dividends(task.base) else None, task.levels)
    inputs = [*input_columns(spec.features, spec.target), *extras.columns]
    facts = {
        "fingerprint": task.mark,
        "inputs": inputs,
        "rows": len(table),
        "base": task.base,
        "levels": task.levels,
        **({} if quantiles is None else {"quantiles": _newest(quantiles)}),
    }
    for name in names:
        if name != names[0]:
            copy_table(folder, names[0], name)
        write_text(folder / f"{name}.json", json.dumps(facts, indent=2) + "\n")


def _newest(quantiles: pd.DataFrame) -> dict[str, Any]:
    """The quantiles of the fleet's last session, from which widths of bars that come later can be made.

    One number per level, named as the column of its widths, or None where there are too few errors; and `session`.
    """
    last = quantiles.iloc[-1]
    values = {str(name): float(value) if np.isfinite(value) else None for name, value in last.items()}
    return {"session": f"{quantiles.index[-1]:%F}", **values}


def build_table(
    prices: Path,
    spec: ModelSpec,
    base: Base = "none",
    levels: tuple[float, ...] = (),
    quantiles: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compute the feature table of one model from its branch's price tables.

    For `levels` and `quantiles` of its intervals see `features.extras.Extras`.

    Raises:
        DataError: there are no prices, or too few for the longest window.
    """
    stored = read_bars(prices, spec.ticker, spec.exchange, _has_dividends(base))
    extras = Extras(stored.dividends, levels, quantiles)
    return build_features(stored.bars, spec.features, spec.target, stored.days, spec.ticker, extras)
