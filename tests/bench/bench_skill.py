"""Measures the skill of forecasts over years: a folder of price files, one model per stock, retrained as time goes on.

`make bench-skill PRICES=folder` runs it. It starts a project on the price files, runs `mlops run` once, and computes
every figure again from the forecasts with numpy; the program's own summary must agree to 1e-9.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this file is started by its path, and the imports below are relative to the repository

from tests.bench.bench_processes import BenchError, Measured  # noqa: E402
from tests.bench.bench_projects import BRANCH, SEED, Workplace, write_yaml  # noqa: E402
from tests.bench.bench_report import Row, Section, machine, print_table, write_docs  # noqa: E402

NAME = "skill"
SCENARIO, TEAM = "years", "skill"
MEGABYTE = 1e6
SAME = 1e-9
HOURS = 4.0
DOCS = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Period:
    """The held-out period, and how often models are retrained in it."""

    start: date
    days: int
    retrain: str


def measure_skill(place: Workplace, prices: Path, period: Period) -> Section:
    """Run everything over the price files of a folder, and judge the retrained forecasts."""
    tickers = sorted(path.stem for path in prices.iterdir() if path.suffix in (".parquet", ".csv"))
    if not tickers:
        raise BenchError(f"{prices}: no price files (.parquet or .csv)")
    root = _project(place, prices, tickers, period)
    print(f"{NAME}: mlops run over {len(tickers)} stocks, retrained {period.retrain}", file=sys.stderr, flush=True)
    run = place.run("mlops", "run", cwd=root, memory=True, seconds=HOURS * 3600)
    again = place.run("mlops", "run", cwd=root, memory=True, seconds=HOURS * 3600)
    report = root / "simulation" / "reports" / SCENARIO
    frame = pd.read_parquet(report / "forecasts_walk_forward.parquet")
    summary = json.loads((report / "summary.json").read_text())["walk_forward"]
    section = Section(NAME, rows=[*_cost(len(tickers), run, again), *skill_rows(frame, summary["pooled"])])
    section.raw["summary"] = {key: summary[key] for key in ("pooled", "decomposition") if key in summary}
    return section


def _project(place: Workplace, prices: Path, tickers: list[str], period: Period) -> Path:
    root = place.folder / NAME
    place.run("mlops", "init", root, "--template", "blank")
    write_yaml(root / "simulation" / f"{SCENARIO}.yaml", {"start": period.start, "days": period.days})
    write_yaml(
        root / "params.yaml",
        {
            "seed": SEED,
            "branches": {BRANCH: {"collection": ["configs/skill"]}},
            "source": {"kind": "csv", "folder": str(prices.resolve())},
            "period": {"start": None, "end": None},
            "simulation": {"scenario": SCENARIO, "retrain": period.retrain},
        },
    )
    write_yaml(root / "configs" / "skill" / "models.yaml", {"team": TEAM, "tickers": tickers, "features": "small"})
    return root


def _cost(number: int, run: Measured, again: Measured) -> list[Row]:
    peak = run.tree_bytes / MEGABYTE
    return [
        Row(f"`mlops run`, ingest to simulate, {number} stocks", run.wall, "s"),
        Row("the same: peak memory of all its processes", peak, "MB", "<= 4000 MB", met=peak <= 4000),
        Row("`mlops run` again: nothing to do", again.wall, "s"),
    ]


def skill_rows(frame: pd.DataFrame, pooled: dict[str, Any]) -> list[Row]:
    """The figures of forecasts (`evaluation.frame`) beside their targets.

    Raises:
        BenchError: the program's own summary says otherwise.
    """
    errors = Errors.of(frame)
    ratio, t = errors.ratio("model"), errors.t("model", "naive")
    for name, own, mine in (("mae_ratio", pooled["mae_ratio"], ratio), ("dm_t", pooled["dm_t"], t)):
        if abs(own - mine) > SAME * max(1.0, abs(mine)):
            raise BenchError(f"{name} is {own} in summary.json, and {mine} computed from the forecasts")
    years = errors.by_year()
    worst = float(errors.ratios("model").max())
    dividend, dividend_t = errors.ratio("dividend"), errors.t("dividend", "naive")
    rows = [
        Row("MAE / naive MAE, mean over stocks", ratio, "", "<= 0.9979", met=ratio <= 0.9979, digits=5),
        Row("day-clustered t against naive", t, "", "<= -5", met=t <= -5),
        Row("of it base alone (C exp(mu) - D): MAE / naive MAE", errors.ratio("base"), "", digits=5),
        Row("of it base alone: t", errors.t("base", "naive"), ""),
        Row("model against its base: t", errors.t("model", "base"), ""),
        Row(
            "announced dividend alone (C - D): MAE / naive MAE",
            dividend,
            "",
            "<= 0.9988",
            met=dividend <= 0.9988,
            digits=5,
        ),
        Row("announced dividend alone: t", dividend_t, "", "<= -8", met=dividend_t <= -8),
        Row("worst stock: MAE / naive MAE", worst, "", "<= 1.01", met=worst <= 1.01, digits=5),
        Row("stocks below 1", float((errors.ratios("model") < 1).mean() * 100), "%"),
    ]
    rows += [
        Row(f"year from September {year}", value, "", "<= 1.0000", met=value <= 1, digits=5)
        for year, value in years.items()
    ]
    return rows + _interval_rows(frame)


def _interval_rows(frame: pd.DataFrame) -> list[Row]:
    rows = []
    levels = sorted(float(name.removeprefix("lower_")) for name in frame if str(name).startswith("lower_"))
    for level in levels:
        low, high = (frame[f"{side}_{level:g}"].to_numpy() for side in ("lower", "upper"))
        known = np.isfinite(low) & np.isfinite(high)
        actual = frame["actual_close"].to_numpy()
        inside = (actual >= low) & (actual <= high)
        cover = float(inside[known].mean() * 100)
        margin = 1.0
        rows.append(
            Row(
                f"{level:g} % interval: coverage of {known.sum():,} forecasts",
                cover,
                "%",
                f"{level - margin:g} to {level + margin:g} %",
                met=abs(cover - level) <= margin,
                digits=4,
            )
        )
    return rows


@dataclass(frozen=True)
class Errors:
    """Absolute errors by session (rows) and model (columns), price units, of each kind of forecast."""

    tables: dict[str, pd.DataFrame]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Errors:
        """The errors of forecasts; `dividend` is the last close less the announced dividend."""
        forecasts = {
            "model": frame["predicted_close"],
            "naive": frame["last_close"],
            "base": frame["base_predicted_close"],
            "dividend": frame["last_close"] - frame["announced_dividend"],
        }
        absolute = pd.DataFrame({name: (values - frame["actual_close"]).abs() for name, values in forecasts.items()})
        keyed = absolute.assign(model_name=frame["model"], day=frame["target_session"])
        return cls({name: keyed.pivot(index="day", columns="model_name", values=name) for name in forecasts})

    def ratios(self, kind: str) -> pd.Series:
        """MAE over naive MAE, by model."""
        return self.tables[kind].mean() / self.tables["naive"].mean()

    def ratio(self, kind: str) -> float:
        """Mean over the models of `ratios`."""
        return float(self.ratios(kind).mean())

    def daily(self, kind: str, other: str) -> pd.Series:
        """Mean over the models, by day, of the difference of errors in units of the model's naive MAE."""
        return ((self.tables[kind] - self.tables[other]) / self.tables["naive"].mean()).mean(axis=1)

    def t(self, kind: str, other: str) -> float:
        """t statistic of `daily`: its mean over its standard error, days being independent."""
        days = self.daily(kind, other)
        return float(days.mean() / (days.std(ddof=1) / np.sqrt(len(days))))

    def by_year(self) -> dict[int, float]:
        """1 + mean of `daily` against naive, by year from September to August."""
        days = self.daily("model", "naive")
        index = pd.DatetimeIndex(days.index)
        years = index.year - (index.month < 9)  # of the September in which the year begins
        return {int(year): float(1 + part.mean()) for year, part in days.groupby(years)}


def main() -> int:
    """Measure, print, and on request write docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prices", type=Path, help="folder of price files, one per stock, with adjusted closes")
    parser.add_argument("--start", type=date.fromisoformat, default=date(2017, 9, 1))
    parser.add_argument("--days", type=int, default=2382)
    parser.add_argument("--retrain", default="quarterly")
    parser.add_argument("--keep", type=Path, help="folder for the project, kept afterwards; default: a temporary one")
    parser.add_argument("--write", action="store_true", help=f"write the figures into {DOCS.relative_to(ROOT)}")
    options = parser.parse_args()
    period = Period(options.start, options.days, options.retrain)
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="mlops-bench-", ignore_cleanup_errors=True) as folder:
        begun = time.monotonic()
        try:
            section = measure_skill(Workplace(options.keep or Path(folder)), options.prices, period)
        except BenchError as error:
            print(f"error: {NAME}: {error}", file=sys.stderr)
            return 1
        section.seconds = time.monotonic() - begun
    print_table([section], facts)
    if options.write:
        write_docs(DOCS, [section], facts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
