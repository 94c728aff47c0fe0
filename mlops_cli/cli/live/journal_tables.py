"""Tables and sentences of `mlops journal`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_cli.cli.output import print_table, say

if TYPE_CHECKING:
    from mlops_cli.live.issued.listing import ListedForecast
    from mlops_cli.live.journal.records import Forecast

MOST_FORECASTS = 500  # a year of a fleet is half a million
MOST_GAPS = 30
STALE = "STALE"
_HEADS = ("model", "session", "for", "last close", "forecast")
_LAST_HEADS = ("base", "version", "issued at (UTC)", "actual", "")
_GAP_HEADS = ("model", "session", "issued", "today", "difference %", "version", "version today", "cause")


def print_forecasts(rows: Sequence[ListedForecast]) -> None:
    """A table of forecasts: prices in the units of the day of issue."""
    # of many sessions the last ones; of many models the first ones
    shown = rows[:MOST_FORECASTS] if all(row.is_newest for row in rows) else rows[-MOST_FORECASTS:]
    models = {row.issued.forecast.key[1:] for row in shown}
    branches = Counter(name for _, name in models)
    levels = sorted({interval.level for row in shown for interval in row.issued.forecast.intervals})
    heads = [*_HEADS, *(f"{level:g} %" for level in levels), *_LAST_HEADS]
    print_table(heads, [_cells(row, levels, branches) for row in shown])
    if len(shown) < len(rows):
        say(f"{len(rows) - len(shown):,} more: choose some with --model or --team, or see all with --json")


def stale_lines(rows: Sequence[ListedForecast]) -> list[str]:
    """What to do about stale forecasts; no line if there are none."""
    stale = [row for row in rows if row.is_stale]
    if not stale:
        return []
    ages = sorted({row.age for row in stale if row.age is not None})
    if not ages:
        behind = ""
    elif ages[0] == ages[-1]:
        behind = f", {ages[0]} sessions behind"
    else:
        behind = f", {ages[0]} to {ages[-1]} sessions behind"
    return [f"{len(stale):,} of {len(rows):,} forecasts are stale{behind}: run: mlops live"]


def count_lines(counts: Mapping[str, Any]) -> list[str]:
    """How many forecasts the scores are made of, from the `counts` of `track_record.scores`."""
    judged = counts["judged"]
    lines = [
        f"Live track record: {judged:,} forecasts judged, for {counts['first_target']} to {counts['last_target']}; "
        f"{counts['issued']:,} issued, {counts['waiting']:,} wait for their close."
    ]
    if counts["stale"]:
        lines.append(f"  {counts['stale']:,} were issued after the close that they forecast: they are not judged.")
    if counts["restated"]:
        lines.append(f"  The actual close of {counts['restated']:,} was corrected or split later; the newest counts.")
    return lines


def print_gap(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of the largest differences between issued forecasts and those of today."""
    if rows:
        print_table(_GAP_HEADS, [_gap_cells(row) for row in rows[:MOST_GAPS]])
    if len(rows) > MOST_GAPS:
        say(f"{len(rows) - MOST_GAPS:,} more that differ: see them with --json")


def gap_lines(figures: Mapping[str, Any]) -> list[str]:
    """The gap in sentences, from `gap.gap_figures`."""
    causes = ", ".join(f"{count:,} {cause}" for cause, count in figures["causes"].items())
    lines = [f"{figures['n']:,} forecasts, by cause of their gap: {causes}"]
    if figures["mean_difference"] is not None:
        mean, largest = (100 * figures[key] for key in ("mean_difference", "largest_difference"))
        lines.append(f"Difference of the log returns: mean {mean:.4f} %, largest {largest:.4f} %")
    return lines


def price_text(value: float | None) -> str:
    """A price, with four decimals below 10."""
    return "-" if value is None else f"{value:.2f}" if value >= 10 else f"{value:.4f}"


def _cells(row: ListedForecast, levels: Sequence[float], branches: Mapping[str, int]) -> list[str]:
    forecast, settled = row.issued.forecast, row.issued.settled
    bounds = {interval.level: interval for interval in forecast.intervals}
    intervals = (bounds.get(level) for level in levels)
    return [
        forecast.model if branches[forecast.model] < 2 else f"{forecast.branch}/{forecast.model}",
        str(forecast.session),
        str(forecast.target_session),
        price_text(forecast.last_close),
        price_text(forecast.predicted_close),
        *("-" if each is None else f"{price_text(each.lower)} to {price_text(each.upper)}" for each in intervals),
        _base(forecast),
        forecast.version,
        f"{row.issued.issued_at:%Y-%m-%d %H:%M}",
        "-" if settled is None else price_text(settled.actual.actual_close),
        STALE if row.is_stale else "issued late" if row.was_late else "",
    ]


def _base(forecast: Forecast) -> str:
    """The base forecast; a dash where it is the last close."""
    return "-" if forecast.base_predicted_close == forecast.last_close else price_text(forecast.base_predicted_close)


def _gap_cells(row: Mapping[str, Any]) -> list[str]:
    difference = row["difference"]
    return [
        row["model"],
        str(row["session"]),
        price_text(row["predicted_close"]),
        price_text(row["predicted_close_now"]),
        "-" if difference is None else f"{100 * difference:+.4f}",
        row["version"] or "-",
        row["version_now"] or "-",
        row["cause"],
    ]
