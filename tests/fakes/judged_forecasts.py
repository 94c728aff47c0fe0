"""Judged forecasts, and their table as the terminal shows it, for tests of reports."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from mlops_cli.evaluation.paired import compare
from mlops_cli.evaluation.summary import summarise
from mlops_cli.simulation.result_table import result_table
from tests.fakes.forecast_frames import (
    equal_shrinkage,
    forecast_frame,
    market_returns,
    noise,
    with_base,
    with_intervals,
)


def judged(models: int, days: int = 40, shrinkage: float = 0.5) -> tuple[pd.DataFrame, dict[str, Any]]:
    frame = forecast_frame(market_returns(models, days, 1), noise(models, days, 1), shrinkage)
    return frame, summarise(frame, equal_shrinkage(frame, shrinkage))


def printed(summary: dict[str, Any], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(result_table(summary, width))
    return console.file.getvalue()


def judged_payers(
    models: int, days: int, network: float = 0.3, width: float = 0.03
) -> tuple[pd.DataFrame, dict[str, Any]]:
    frame = forecast_frame(market_returns(models, days, 1), noise(models, days, 1))
    dividend = np.where(np.arange(models * days) % 10 == 3, 0.02, 0.0)
    frame = with_base(frame, dividend, drift=0.0005, network=network)
    frame = with_intervals(frame, {80.0: width / 2, 95.0: width}, {80.0: 0.02, 95.0: 0.04})
    return frame, summarise(frame, equal_shrinkage(frame, network))


def cells_of(text: str, model: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [model])


def walked(models: int, days: int = 40) -> dict[str, Any]:
    """A summary with a walk-forward part whose last model is left out."""
    frame, summary = judged(models, days)
    other = forecast_frame(market_returns(models, days, 1), noise(models, days, 2), 0.5)
    other = other[other["model"] != summary["models"][-1]["model"]]
    walk = summarise(other, equal_shrinkage(other))
    walk.pop("alarm")
    left_out = [{"model": summary["models"][-1]["model"], "reason": "no memory"}]
    facts = {"retrain": "monthly", "dates": ["2023-01-03", "2023-02-01"], "left_out": left_out}
    return summary | {"walk_forward": walk | facts | {"comparison": compare(other, frame)}}


def scenario_summary(sessions: int, replayed: int, short: dict[str, int]) -> dict[str, Any]:
    frame = forecast_frame(market_returns(1, 40, 0), noise(1, 40, 0))
    filled = {"sessions": sessions, "replayed": replayed, "last_session": "2024-01-30"}
    scenario = {"name": "holdout", **filled, "filled": not short, "short_models": short}
    return {**summarise(frame, equal_shrinkage(frame)), "scenario": scenario}
