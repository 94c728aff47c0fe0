"""The files of a scenario's report: forecasts, summary and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.system.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

FORECASTS_FILE, SUMMARY_FILE, PLOTS_FOLDER = "forecasts.parquet", "summary.json", "plots"
WALK_FORWARD_FILE = "forecasts_walk_forward.parquet"


def write_report(
    folder: Path, forecasts: pd.DataFrame, summary: Mapping[str, Any], walk_forward: pd.DataFrame | None = None
) -> list[Path]:
    """Write a scenario's report.

    Each file is written whole or not at all. `summary.json` is written last, so that where it exists, so do the others.

    Files of an earlier report are replaced. `walk_forward` are the forecasts of retrained models, if there are any.

    Returns:
        The files written: forecasts.parquet (columns and order as check_forecasts returns), with `walk_forward` also
        forecasts_walk_forward.parquet, then plots/*.png and summary.json.

    Raises:
        DataError: `forecasts` break the contract; nothing is written.
        ValueError: `summary` holds a NaN; no summary.json is written.
    """
    from mlops_cli.evaluation.frame import check_forecasts  # imports pandas, which the table and the lines do not need
    from mlops_cli.simulation.plots import plot_all

    frame = check_forecasts(forecasts)
    text = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    retrained = None if walk_forward is None else check_forecasts(walk_forward)
    written = [write_whole(folder / FORECASTS_FILE, lambda part: frame.to_parquet(part, index=False))]
    if retrained is None:
        (folder / WALK_FORWARD_FILE).unlink(missing_ok=True)
    else:
        written.append(write_whole(folder / WALK_FORWARD_FILE, lambda part: retrained.to_parquet(part, index=False)))
    written += plot_all(frame, summary, folder / PLOTS_FOLDER)
    written.append(write_whole(folder / SUMMARY_FILE, lambda part: part.write_text(text, encoding="utf-8")))
    return written
