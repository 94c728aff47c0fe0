"""The files of stage `evaluate`: forecasts, a row for each version that was judged, and pooled figures."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mlops_cli.evaluation.frame import FORECAST_COLUMNS, with_base_columns
from mlops_cli.evaluation.summary import summarise
from mlops_cli.evaluation.verdicts import MODELS
from mlops_cli.pipeline.stages.tables import read_table, write_table
from mlops_cli.system.files import write_text

METRICS = "metrics.json"  # a few pooled figures, flat: `dvc metrics show` makes a column of each
METRIC_KEYS = (
    "n_models", "n_days", "mae", "mae_raw", "mae_naive", "mae_drift", "mae_base", "skill", "direction_accuracy", "dm_p",
    "base_p",
)  # fmt: skip
FORECASTS = "forecasts"
PINNED = "pinned"


@dataclass(frozen=True)
class JudgedVersion:
    """A version of a model, its shrinkage (lambda), and its forecasts under the model's name."""

    version: str
    shrinkage: float
    forecasts: pd.DataFrame


@dataclass(frozen=True)
class Evaluation:
    """An earlier evaluation: the newest versions by model, and the rows of pinned versions."""

    newest: Mapping[str, JudgedVersion]
    pinned: list[dict[str, Any]]


def read_evaluation(folder: Path, models: Collection[str]) -> Evaluation:
    """Read what an earlier evaluation wrote about these models; empty where there was none.

    Raises:
        DataError: the table of forecasts is damaged.
    """
    table = read_table(folder, FORECASTS)
    rows = _read_rows(folder, models)
    if table is None or not rows:
        return Evaluation({}, [])
    frames = {str(name): frame for name, frame in with_base_columns(table).groupby("model", observed=True)}
    newest = {
        row["model"]: JudgedVersion(row.get("version", ""), row["shrinkage"], frames[row["model"]])
        for row in rows
        if PINNED not in row and row["model"] in frames
    }
    return Evaluation(newest, [row for row in rows if PINNED in row])


def _read_rows(folder: Path, models: Collection[str]) -> list[dict[str, Any]]:
    try:
        return [row for row in json.loads((folder / MODELS).read_bytes()) if row["model"] in models]
    except (FileNotFoundError, ValueError):
        return []


def write_evaluation(
    folder: Path,
    newest: Mapping[str, JudgedVersion],
    pinned: Mapping[str, JudgedVersion],
    earlier: list[dict[str, Any]],
) -> dict[str, Any]:
    """Write the files of an evaluation, and return the figures of the newest versions by model.

    A pinned version answers requests instead of the newest one. It is judged together with the versions of the other
    models that answer, so that false-discovery control counts each model once. `pinned` are those that are not the
    newest, `earlier` the rows of pinned versions that were not judged now.
    """
    if not newest:
        # DVC expects a stage's files even where no model of the branch came this far
        write_table(folder, FORECASTS, pd.DataFrame(columns=list(FORECAST_COLUMNS)))
        write_text(folder / MODELS, "[]\n")
        write_metrics(folder, {})
        return {}
    summary = _summary(newest)
    rows = _rows(summary, newest)
    if pinned:
        answering = {**newest, **pinned}
        rows += [{**row, PINNED: True} for row in _rows(_summary(answering), answering) if row["model"] in pinned]
    write_table(folder, FORECASTS, _frame(newest))
    write_text(folder / MODELS, json.dumps([*rows, *earlier], indent=2) + "\n")
    write_metrics(folder, summary["pooled"])
    return {row["model"]: row for row in summary["models"]}


def write_metrics(folder: Path, pooled: Mapping[str, Any]) -> None:
    """Write the pooled figures for `dvc metrics`."""
    write_text(folder / METRICS, json.dumps({key: pooled.get(key) for key in METRIC_KEYS}, indent=2) + "\n")


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a model's row that are numbers, flat: those of intervals get the level, as in `coverage_95`."""
    by_level = {
        f"{key}_{level}": value for level, figures in row["intervals"].items() for key, value in figures.items()
    }
    return {key: float(value) for key, value in {**row, **by_level}.items() if isinstance(value, int | float)}


def _frame(versions: Mapping[str, JudgedVersion]) -> pd.DataFrame:
    return pd.concat([version.forecasts for version in versions.values()], ignore_index=True)


def _summary(versions: Mapping[str, JudgedVersion]) -> dict[str, Any]:
    return summarise(_frame(versions), {name: version.shrinkage for name, version in versions.items()})


def _rows(summary: Mapping[str, Any], versions: Mapping[str, JudgedVersion]) -> list[dict[str, Any]]:
    return [{"model": row["model"], "version": versions[row["model"]].version, **row} for row in summary["models"]]
