"""What stage `evaluate` writes of a branch: forecasts, a row for each version that was judged, pooled figures."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mlops_cli.evaluation.frame import FORECAST_COLUMNS
from mlops_cli.evaluation.summary import summarise
from mlops_cli.evaluation.verdicts import MODELS
from mlops_cli.pipeline.stages.tables import read_table, write_table
from mlops_cli.system.files import write_text

METRICS = "metrics.json"  # a few pooled figures, flat: `dvc metrics show` makes a column of each
METRIC_KEYS = ("n_models", "n_days", "mae", "mae_raw", "mae_naive", "mae_drift", "skill", "direction_accuracy", "dm_p")
FORECASTS = "forecasts"
PINNED = "pinned"


@dataclass(frozen=True)
class Version:
    """A version of a model with its shrinkage (lambda) and its forecasts, under the model's name."""

    version: str
    shrinkage: float
    forecasts: pd.DataFrame


@dataclass(frozen=True)
class Standing:
    """What an earlier evaluation found: newest versions by model, and the rows of pinned ones."""

    newest: Mapping[str, Version]
    pinned: list[dict[str, Any]]


def standing(folder: Path, models: Collection[str]) -> Standing:
    """What is written of these models; nothing where there was no evaluation."""
    table = read_table(folder, FORECASTS)
    try:
        rows = [row for row in json.loads((folder / MODELS).read_bytes()) if row["model"] in models]
    except (FileNotFoundError, ValueError):
        rows = []
    if table is None or not rows:
        return Standing({}, [])
    frames = {str(name): frame for name, frame in table.groupby("model", observed=True)}
    newest = {
        row["model"]: Version(row.get("version", ""), row["shrinkage"], frames[row["model"]])
        for row in rows
        if PINNED not in row and row["model"] in frames
    }
    return Standing(newest, [row for row in rows if PINNED in row])


def write_evaluation(
    folder: Path, newest: Mapping[str, Version], pinned: Mapping[str, Version], kept: list[dict[str, Any]]
) -> dict[str, Any]:
    """Write it all.

    A pinned version answers in its model's place; it is judged in the company of the others that answer, so that
    false-discovery control is over as many as there are.

    Args:
        folder: of the branch's evaluation.
        newest: by model.
        pinned: by model, where another version than the newest answers.
        kept: rows of pinned versions that were not judged now.

    Returns:
        The figures of the newest versions, by model.
    """
    if not newest:
        # DVC asks for a stage's files even where no model of the branch came this far
        write_table(folder, FORECASTS, pd.DataFrame(columns=list(FORECAST_COLUMNS)))
        write_text(folder / MODELS, "[]\n")
        write_metrics(folder, {})
        return {}
    summary = _summary(newest)
    rows = _rows(summary, newest)
    if pinned:
        answering = {**newest, **pinned}
        found = _rows(_summary(answering), answering)
        rows += [{**row, PINNED: True} for row in found if row["model"] in pinned]
    write_table(folder, FORECASTS, _frame(newest))
    write_text(folder / MODELS, json.dumps([*rows, *kept], indent=2) + "\n")
    write_metrics(folder, summary["pooled"])
    return {row["model"]: row for row in summary["models"]}


def write_metrics(folder: Path, pooled: Mapping[str, Any]) -> None:
    """Write the pooled figures for `dvc metrics`."""
    write_text(folder / METRICS, json.dumps({key: pooled.get(key) for key in METRIC_KEYS}, indent=2) + "\n")


def _frame(versions: Mapping[str, Version]) -> pd.DataFrame:
    return pd.concat([one.forecasts for one in versions.values()], ignore_index=True)


def _summary(versions: Mapping[str, Version]) -> dict[str, Any]:
    return summarise(_frame(versions), {name: one.shrinkage for name, one in versions.items()})


def _rows(summary: Mapping[str, Any], versions: Mapping[str, Version]) -> list[dict[str, Any]]:
    return [{"model": row["model"], "version": versions[row["model"]].version, **row} for row in summary["models"]]
