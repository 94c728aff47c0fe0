"""The results in sentences, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops_cli.simulation.figure_text import direction, figure, p_value, percent, price
from mlops_cli.simulation.remarks import remarks

MEANINGS = {
    "skill": "the forecasts are better than 'tomorrow = today', by more than chance explains",
    "no skill": "no difference from 'tomorrow = today' could be shown",
    "worse than naive": "'tomorrow = today' is better than the forecasts, by more than chance explains",
}
BASE_MEANINGS = {
    "adds to the base": "the forecasts are better than the base alone, by more than chance explains",
    "adds nothing to the base": "no difference from the base alone could be shown",
    "takes from the base": "the base alone is better than the forecasts, by more than chance explains",
}
RETRAINING = {
    "better": "retraining lowers the error, by more than chance explains",
    "no difference": "no difference between the retrained and the frozen models could be shown",
    "worse": "retraining raises the error, by more than chance explains",
}
NOTHING = 5e-6  # a change of the error that three digits of a percentage would show as zero
PARTS = ("dividends", "drift", "network", "together")
DAYS = {"all_days": "all days", "ex_days": "ex-days", "other_days": "other days"}


def result_lines(summary: Mapping[str, Any]) -> list[str]:
    """The results in sentences: the collection, the teams, walk-forward, and the look-ahead alarm."""
    return [
        *_pooled_lines(summary),
        *_decomposition_lines(summary.get("decomposition")),
        *_interval_lines(summary["pooled"]),
        *(f"  {line}" for line in remarks(summary)),
        *_team_lines(summary["teams"]),
        *_walk_forward_lines(summary.get("walk_forward")),
        *_alarm_lines(summary["alarm"]),
        *_repaired_lines(summary.get("repaired_prices", {})),
    ]


def evaluation_line(row: Mapping[str, Any]) -> str:
    """The figures of one version of a model, from the `models.json` of stage `evaluate` (of older versions too)."""
    pinned = f" (pinned {row['version']})" if row.get("pinned") else ""
    inside = [
        f"{percent(figures['coverage'])} % of closes in the {level} % interval"
        for level, figures in row.get("intervals", {}).items()
    ]
    return (
        f"{row['model']}{pinned}: MAE {row['mae']:.4g} (naive {row['mae_naive']:.4g}"
        f"{_of_base(row, 'mae_base', '{:.4g}'.format)}), skill {percent(row['skill'], 2, '+')} %, "
        f"{', '.join([_both_verdicts(row), *inside])}"
    )


def _pooled_lines(summary: Mapping[str, Any]) -> list[str]:
    pooled = summary["pooled"]
    verdicts = [row["verdict"] for row in summary["models"]]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in MEANINGS)
    return [
        f"Verdict on the collection: {pooled['verdict'].upper()} - {MEANINGS[pooled['verdict']]}.",
        *_base_lines(pooled),
        f"  MAE {price(pooled['mae'])} (naive {price(pooled['mae_naive'])}, drift {price(pooled['mae_drift'])}"
        f"{_of_base(pooled, 'mae_base', price)}). Direction correct: {direction(pooled)} %",
        f"  (up every day: {percent(pooled['always_up_rate'])} %). "
        f"Models {pooled['n_models']}, days {pooled['n_days']}{_of_scenario(summary)}. "
        f"{_ratio(pooled)}, below 1 for {percent(pooled['share_of_models_below_naive'], 0)} % of models.",
        f"  Day-clustered test against naive: {_tests(pooled)}.",
        f"  Per model: {counts}.",
    ]


def _base_lines(pooled: Mapping[str, Any]) -> list[str]:
    verdict = pooled.get("base_verdict")
    return [] if verdict is None else [f"  The network {verdict}: {BASE_MEANINGS[verdict]}."]


def _of_base(row: Mapping[str, Any], key: str, text: Any) -> str:
    return "" if row.get(key) is None else f", base {text(row[key])}"


def _ratio(row: Mapping[str, Any]) -> str:
    base = "" if row.get("base_ratio") is None else f" (base {row['base_ratio']:.4f})"
    return f"MAE / naive MAE {figure(row['mae_ratio'], '.4f')}{base}"


def _tests(pooled: Mapping[str, Any]) -> str:
    if pooled["dm_t"] is None:
        return "undefined (fewer than 20 days, or forecasts equal to naive)"
    base = "" if pooled.get("base_p") is None else f", against the base p = {p_value(pooled['base_p'])}"
    drift = f"against drift p = {p_value(pooled['drift_p'])}"
    return f"t = {pooled['dm_t']:+.2f}, p = {p_value(pooled['dm_p'])}; {drift}{base}"


def _of_scenario(summary: Mapping[str, Any]) -> str:
    sessions = summary.get("scenario", {}).get("sessions")
    return "" if sessions is None else f" of {sessions}"


def _decomposition_lines(decomposition: Mapping[str, Any] | None) -> list[str]:
    """A small table: by kind of day and part, the change of the error, and its t."""
    if decomposition is None:
        return []
    rows = [(DAYS[key], decomposition[key]) for key in DAYS if decomposition[key]["n"]]
    return [
        "  Change of the error by each part, in % of the naive error; negative = smaller (day-clustered t):",
        f"    {'':<10} {'forecasts':>9}{''.join(f'{part:>17}' for part in PARTS)}",
        *(f"    {name:<10} {row['n']:>9,}{''.join(f'{_part(row[part]):>17}' for part in PARTS)}" for name, row in rows),
    ]


def _part(test: Mapping[str, Any]) -> str:
    change = test["relative_loss"]
    if change is None:
        return "-"
    shown = "0.000" if abs(change) < NOTHING else f"{100 * change:+.3f}"
    return f"{shown} ({figure(test['t'], '+.1f')})"


def _interval_lines(pooled: Mapping[str, Any]) -> list[str]:
    """A small table: by level, how many closes are inside, how wide the interval is, and how good."""
    intervals = pooled.get("intervals", {})
    if not intervals:
        return []
    titles = ("forecasts", "closes inside", "least in a month", "mean width", "score / constant width")
    return [
        f"  {'Intervals':<12} {'  '.join(titles)}",
        *(f"    {f'{level} %':<10} {_under(titles, _interval_cells(figures))}" for level, figures in intervals.items()),
    ]


def _under(titles: Sequence[str], cells: Sequence[str]) -> str:
    return "  ".join(f"{cell:>{len(title)}}" for cell, title in zip(cells, titles, strict=True))


def _interval_cells(figures: Mapping[str, Any]) -> list[str]:
    worst = figures["worst_month"]
    return [
        f"{figures['n']:,}",
        f"{percent(figures['coverage'])} %",
        "-" if worst is None else f"{percent(worst['coverage'])} % {worst['month']}",
        f"{percent(figures['width'], 2)} %",
        figure(figures["score_ratio"], ".3f"),
    ]


def _team_lines(teams: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(teams) < 2:
        return []
    width = max(len(row["team"]) for row in teams)
    return [
        "Teams, best MAE / naive MAE first:",
        *(
            f"  {row['rank']}. {row['team']:<{width}}  MAE {price(row['mae']):>6}  direction {direction(row)} %"
            f"  MAE / naive {figure(row['mae_ratio'], '.4f')}  p {p_value(row['dm_p_fdr'])}"
            f"  models {row['n_models']}  {_both_verdicts(row)}"
            for row in teams
        ),
    ]


def _both_verdicts(row: Mapping[str, Any]) -> str:
    base = row.get("base_verdict")
    return str(row["verdict"]) if base is None else f"{row['verdict']}, {base}"


def _walk_forward_lines(walk: Mapping[str, Any] | None) -> list[str]:
    if walk is None:
        return []
    often = f"every {walk['retrain']} sessions" if isinstance(walk["retrain"], int) else walk["retrain"]
    lines = [f"Walk-forward, retrained {often}: {_comparison_text(walk)}."]
    comparison = walk["comparison"]
    if comparison is not None and comparison["p"] is not None:
        test = f"t = {comparison['t']:+.2f}, " if comparison["t"] is not None else ""
        lines.append(
            f"  MAE / naive MAE {figure(comparison['mae_ratio'], '.4f')}, frozen "
            f"{figure(comparison['mae_ratio_other'], '.4f')}, on {comparison['n_days']} days after the first "
            f"retraining; day-clustered test: {test}p = {p_value(comparison['p'])}."
        )
    if walk["left_out"]:
        count = len(walk["left_out"])
        which = "1 model is left out of it: its" if count == 1 else f"{count} models are left out of it: their"
        lines.append(f"  {which} retraining failed.")
    return [*lines, *_whole_walk_lines(walk)] if walk["models"] else lines


def _whole_walk_lines(walk: Mapping[str, Any]) -> list[str]:
    """The retrained models' results over the whole period."""
    pooled = walk["pooled"]
    return [
        f"  Over the whole period: {_both_verdicts(pooled).upper()}. {_ratio(pooled)}.",
        f"  Day-clustered test against naive: {_tests(pooled)}.",
        *_decomposition_lines(walk.get("decomposition")),
        *_interval_lines(pooled),
    ]


def _comparison_text(walk: Mapping[str, Any]) -> str:
    if not walk["models"]:
        return "no model could be retrained"
    if walk["comparison"] is None:
        return "the period holds no date to retrain on, so the forecasts are those of the frozen models"
    return RETRAINING[walk["comparison"]["verdict"]]


def _alarm_lines(alarm: Mapping[str, Any]) -> list[str]:
    if not alarm["sounded"]:
        return ["Look-ahead alarm: silent."]
    return [
        "LOOK-AHEAD ALARM: too good for daily closes; look for data of the future in features or training.",
        *(f"  {reason}" for reason in alarm["reasons"]),
    ]


def _repaired_lines(repaired: Mapping[str, str]) -> list[str]:
    if not repaired:
        return []
    shown = [f"  {ticker}: {words}" for ticker, words in list(repaired.items())[:5]]
    more = [f"  and {len(repaired) - 5} more: mlops doctor"] if len(repaired) > 5 else []
    return ["Warning: cleaning repaired or dropped much of these prices (mlops prices show TICKER):", *shown, *more]
