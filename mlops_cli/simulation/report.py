"""A scenario's report: data files and plots, and for the terminal a table and a few sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.simulation.ranking import best_and_worst
from mlops_cli.system.files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

FORECASTS_FILE, SUMMARY_FILE, PLOTS_FOLDER = "forecasts.parquet", "summary.json", "plots"
WALK_FORWARD_FILE = "forecasts_walk_forward.parquet"
FEWEST = 20  # sessions below which shares and tests mean nothing (evaluation.significance.MIN_SESSIONS)
FILLED = 0.95  # share of its sessions from which on a scenario counts as filled (simulation.coverage.FILLED)
ALL_SHOWN, BEST_AND_WORST = 30, 10
Rows = list[Mapping[str, Any]]
COLUMNS = (
    "MAE", "raw\nMAE", "direction\n% ± se", "naive\nMAE", "skill\n%", "drift\nMAE", "n", "DM\np", "PT\np",
    "always\nup %", "λ",
)  # fmt: skip
CAPTION = (
    "direction: share of rises and falls that the raw forecasts predicted correctly. skill: 1 - MAE / naive MAE. "
    "λ: share of the network's own forecast that is kept. verdict: from DM p, corrected for the number of models. "
    "-: undefined. Best MAE / naive MAE first."
)
RETRAINED = "re-\ntrained\nMAE"
RETRAINED_CAPTION = " retrained MAE: of the same models, retrained while the scenario went on."


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


def result_table(summary: Mapping[str, Any]) -> Table:
    """Table of the results per model, best MAE ratio first, and the pooled results at its foot (100 columns wide).

    With more than 30 models: the 10 best and the 10 worst, and how many are left out.
    """
    from rich import box
    from rich.table import Table

    best, worst = best_and_worst(summary["models"], ALL_SHOWN, BEST_AND_WORST)
    hidden = len(summary["models"]) - len(best) - len(worst)
    left_out = (
        f" The {BEST_AND_WORST} best and {BEST_AND_WORST} worst of {len(summary['models'])}: all are in {SUMMARY_FILE}."
    )
    retrained = _retrained_maes(summary)
    caption = " ".join(
        [CAPTION + (RETRAINED_CAPTION if retrained else "") + (left_out if hidden else ""), *remarks(summary)]
    )
    table = Table(box=box.SIMPLE_HEAD, padding=0, caption=caption, caption_justify="left", caption_style="dim")
    table.add_column("model", overflow="fold")
    for name in COLUMNS if retrained is None else (COLUMNS[0], RETRAINED, *COLUMNS[1:]):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=10)
    for row in best:
        table.add_row(*_cells(row, row["model"], retrained))
    if hidden:
        table.add_row(f"… {hidden} more", style="dim")
    for row in worst:
        table.add_row(*_cells(row, row["model"], retrained))
    table.add_section()
    table.add_row(*_cells(summary["pooled"], "all", retrained), style="bold")
    return table


def remarks(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of the figures must know: which are left out, and how much of the scenario there was."""
    few = sum(row["direction_accuracy"] is None for row in summary["models"])
    if not few:
        return _scenario_lines(summary)
    reason = (
        f"{few} of {len(summary['models'])} models have fewer than {FEWEST} sessions, or hardly any with a direction: "
        "their direction, skill and always up would mean nothing, so they are not shown."
    )
    return [reason, *_scenario_lines(summary)]


def _scenario_lines(summary: Mapping[str, Any]) -> list[str]:
    """How much of the scenario there was, if the data do not fill it (reports of older versions do not say)."""
    scenario = summary.get("scenario", {})
    if scenario.get("filled", True):
        return []
    due, replayed, last = scenario["sessions"], scenario["replayed"], scenario["last_session"]
    if replayed < FILLED * due:
        return [
            f"ONLY {replayed} OF THE SCENARIO'S {due} SESSIONS were replayed, the last on {last}: the data do not "
            "reach further, and the verdict is about these only."
        ]
    short = scenario["short_models"]
    shown = ", ".join(f"{name} {count}" for name, count in list(short.items())[:5])
    return [f"Models with fewer than {100 * FILLED:.0f} % of the scenario's {due} sessions: {shown}."]


def _repaired_lines(repaired: Mapping[str, str]) -> list[str]:
    if not repaired:
        return []
    shown = [f"  {ticker}: {words}" for ticker, words in list(repaired.items())[:5]]
    more = [f"  and {len(repaired) - 5} more: mlops doctor"] if len(repaired) > 5 else []
    return ["Warning: cleaning repaired or dropped much of these prices (mlops prices show TICKER):", *shown, *more]


def result_lines(summary: Mapping[str, Any]) -> list[str]:
    """The results in sentences: the collection, the teams, walk-forward, and the look-ahead alarm."""
    return [
        *_pooled_lines(summary),
        *(f"  {line}" for line in remarks(summary)),
        *_team_lines(summary["teams"]),
        *_walk_forward_lines(summary.get("walk_forward")),
        *_alarm_lines(summary["alarm"]),
        *_repaired_lines(summary.get("repaired_prices", {})),
    ]


def _pooled_lines(summary: Mapping[str, Any]) -> list[str]:
    pooled = summary["pooled"]
    verdicts = [row["verdict"] for row in summary["models"]]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in ("skill", "no skill", "worse than naive"))
    meaning = {
        "skill": "the forecasts are better than 'tomorrow = today', by more than chance explains",
        "no skill": "no difference from 'tomorrow = today' could be shown",
        "worse than naive": "'tomorrow = today' is better than the forecasts, by more than chance explains",
    }[pooled["verdict"]]
    tests = (
        f"t = {pooled['dm_t']:+.2f}, p = {_p(pooled['dm_p'])}; against drift p = {_p(pooled['drift_p'])}"
        if pooled["dm_t"] is not None
        else "undefined (fewer than 20 days, or forecasts equal to naive)"
    )
    return [
        f"Verdict on the collection: {pooled['verdict'].upper()} - {meaning}.",
        f"  MAE {_price(pooled['mae'])} (naive {_price(pooled['mae_naive'])}, drift {_price(pooled['mae_drift'])}). "
        f"Direction correct: {_direction(pooled)} %",
        f"  (up every day: {_percent(pooled['always_up_rate'])} %). "
        f"Models {pooled['n_models']}, days {pooled['n_days']}{_of_scenario(summary)}. "
        f"MAE / naive MAE {_figure(pooled['mae_ratio'], '.4f')}, "
        f"below 1 for {_percent(pooled['share_of_models_below_naive'], 0)} % of models.",
        f"  Day-clustered test against naive: {tests}.",
        f"  Per model: {counts}.",
    ]


def _of_scenario(summary: Mapping[str, Any]) -> str:
    sessions = summary.get("scenario", {}).get("sessions")
    return "" if sessions is None else f" of {sessions}"


def _team_lines(teams: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(teams) < 2:
        return []
    width = max(len(row["team"]) for row in teams)
    return [
        "Teams, best MAE / naive MAE first:",
        *(
            f"  {row['rank']}. {row['team']:<{width}}  MAE {_price(row['mae']):>6}  direction {_direction(row)} %"
            f"  MAE / naive {_figure(row['mae_ratio'], '.4f')}  p {_p(row['dm_p_fdr'])}"
            f"  models {row['n_models']}  {row['verdict']}"
            for row in teams
        ),
    ]


def _walk_forward_lines(walk: Mapping[str, Any] | None) -> list[str]:
    if walk is None:
        return []
    often = f"every {walk['retrain']} sessions" if isinstance(walk["retrain"], int) else walk["retrain"]
    lines = [f"Walk-forward, retrained {often}: {_comparison_text(walk)}."]
    comparison = walk["comparison"]
    if comparison is not None and comparison["p"] is not None:
        test = f"t = {comparison['t']:+.2f}, " if comparison["t"] is not None else ""
        lines.append(
            f"  MAE / naive MAE {_figure(comparison['mae_ratio'], '.4f')}, frozen "
            f"{_figure(comparison['mae_ratio_other'], '.4f')}, on {comparison['n_days']} days after the first "
            f"retraining; day-clustered test: {test}p = {_p(comparison['p'])}."
        )
    if walk["left_out"]:
        count = len(walk["left_out"])
        which = "1 model is left out of it: its" if count == 1 else f"{count} models are left out of it: their"
        lines.append(f"  {which} retraining failed.")
    return lines


def _comparison_text(walk: Mapping[str, Any]) -> str:
    if not walk["models"]:
        return "no model could be retrained"
    if walk["comparison"] is None:
        return "the period holds no date to retrain on, so the forecasts are those of the frozen models"
    return {
        "better": "retraining lowers the error, by more than chance explains",
        "no difference": "no difference between the retrained and the frozen models could be shown",
        "worse": "retraining raises the error, by more than chance explains",
    }[walk["comparison"]["verdict"]]


def _alarm_lines(alarm: Mapping[str, Any]) -> list[str]:
    if not alarm["sounded"]:
        return ["Look-ahead alarm: silent."]
    return [
        "LOOK-AHEAD ALARM: too good for daily closes; look for data of the future in features or training.",
        *(f"  {reason}" for reason in alarm["reasons"]),
    ]


def _retrained_maes(summary: Mapping[str, Any]) -> dict[str, float] | None:
    """MAE of the retrained models by name, and under `all` the pooled one; None without a walk-forward part."""
    walk = summary.get("walk_forward")
    if walk is None or not walk["models"]:
        return None
    maes = {row["model"]: row["mae"] for row in walk["models"]}
    # a mean over fewer models cannot be compared with the mean of all frozen models
    return maes | ({"all": walk["pooled"]["mae"]} if len(maes) == len(summary["models"]) else {})


def _cells(row: Mapping[str, Any], name: str, retrained: Mapping[str, float] | None) -> list[str]:
    few = row.get("n_days", row["n"]) < FEWEST
    skill = None if few else row["skill"]
    beside = [] if retrained is None else [_price(retrained[name]) if name in retrained else "-"]
    return [
        name,
        *(_price(row["mae"]), *beside, _price(row["mae_raw"]), _direction(row)),
        *(_price(row["mae_naive"]), _percent(skill, 2, "+"), _price(row["mae_drift"]), str(row["n"])),
        *(_p(row["dm_p"]), _p(row["pt_p"]), _percent(row["always_up_rate"]), _figure(row["shrinkage"], ".2f")),
        row["verdict"],
    ]


def _figure(value: float | None, spec: str) -> str:
    """A figure as `spec` formats it; "-" where it is undefined."""
    return "-" if value is None else format(value, spec)


def _price(value: float) -> str:
    """A price with at least four digits: models differ from naive in the third or fourth."""
    return f"{value:.{max(0, 3 - math.floor(math.log10(value))) if value > 0 else 3}f}"


def _percent(share: float | None, digits: int = 1, sign: str = "") -> str:
    return "-" if share is None else f"{100 * share:{sign}.{digits}f}"


def _direction(row: Mapping[str, Any]) -> str:
    if row["direction_accuracy"] is None:
        return "-"
    share, error = _percent(row["direction_accuracy"]), row["direction_se"]
    return share if error is None else f"{share} ±{_percent(error)}"


def _p(value: float | None) -> str:
    return "-" if value is None else "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
