"""What a reader of a report must know: which figures are left out, and what they do not mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FEWEST = 20  # sessions below which shares and tests mean nothing (evaluation.significance.MIN_SESSIONS)
FILLED = 0.95  # share of its sessions from which on a scenario counts as filled (simulation.coverage.FILLED)
NO_PROFIT = "This is skill in the quoted close; it is no profit: the holder receives the dividend."
SKILL = "skill"
OFF = ("too narrow", "too wide")  # of evaluation.intervals


def remarks(summary: Mapping[str, Any]) -> list[str]:
    """Sentences that belong under the figures of a summary, for the terminal and for `summary.json`."""
    lines = []
    few = sum(row["direction_accuracy"] is None for row in summary["models"])
    if few:
        lines.append(
            f"{few} of {len(summary['models'])} models have fewer than {FEWEST} sessions, or hardly any with a "
            "direction: their direction, skill and always up would mean nothing, so they are not shown."
        )
    parts = [part for part in (summary, summary.get("walk_forward")) if part and part["models"]]
    if any(_has_skill_from_dividends(part) for part in parts):
        lines.append(NO_PROFIT)
    return [*lines, *_calibration_lines(summary["pooled"]), *_scenario_lines(summary)]


def _has_skill_from_dividends(part: Mapping[str, Any]) -> bool:
    """Whether anything has the verdict `skill` while subtracting announced dividends makes the errors smaller."""
    decomposition = part.get("decomposition")
    if decomposition is None or not (decomposition["all_days"]["dividends"]["relative_loss"] or 0.0) < 0:
        return False
    return any(row["verdict"] == SKILL for row in (part["pooled"], *part["teams"], *part["models"]))


def _calibration_lines(pooled: Mapping[str, Any]) -> Iterator[str]:
    for level, figures in pooled.get("intervals", {}).items():
        if figures["calibration"] in OFF:
            t = "" if figures["coverage_t"] is None else f" (day-clustered t = {figures['coverage_t']:+.1f})"
            yield (
                f"The {level} % intervals are {figures['calibration']}: {100 * figures['coverage']:.1f} % of closes "
                f"are inside, which chance does not explain{t}."
            )


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
