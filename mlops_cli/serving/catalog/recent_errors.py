"""Recent mean absolute errors of a branch's models, from the forecasts of stage `evaluate`."""

from __future__ import annotations

from mlops_cli.config.paths import Project

FORECASTS = "forecasts.parquet"


def recent_errors(project: Project, branch: str, models: list[str], sessions: int) -> dict[str, float]:
    """Mean absolute error of each model over its last sessions with a known close, in price units.

    Models that were not evaluated are left out.
    """
    import pandas as pd  # 40 MB, which a server without such ensembles does not need

    path = project.evaluation(branch) / FORECASTS
    columns = ["model", "session", "predicted_close", "actual_close"]
    try:
        table = pd.read_parquet(path, columns=columns, filters=[("model", "in", models)])
    except (OSError, ValueError, KeyError):
        return {}
    table = table.dropna(subset=["actual_close"]).sort_values("session")
    error = (table["predicted_close"] - table["actual_close"]).abs()
    recent = error.groupby(table["model"].astype(str), observed=True).apply(lambda errors: errors.tail(sessions).mean())
    return {str(model): float(value) for model, value in recent.items()}
