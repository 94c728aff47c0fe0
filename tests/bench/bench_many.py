"""Many models in one project: each stage, a run that has nothing to do, and the simulation."""

from __future__ import annotations

import sys
from statistics import median

import pandas as pd

from tests.bench.bench_processes import BenchError, Measured
from tests.bench.bench_projects import HELD_OUT, SCENARIO, BenchProject, Workplace, make_project
from tests.bench.bench_report import Row, Section
from tests.bench.bench_training import MEGABYTE, figures

NAME = "many"
EPOCHS = 2  # enough for real models; section `train` measures the cost of 10 epochs
SESSIONS = 1000
STAGES = ("ingest", "featurize", "train", "evaluate")
UP_TO_DATE = "Data and pipelines are up to date."
OVER_DVC_SECONDS = 2.0
SIMULATE_SECONDS, SIMULATE_MEGABYTES = 30.0, 1000.0


def many_models(place: Workplace, number: int, repeats: int) -> Section:
    """Run the stages over many models, then measure what a second run and a simulation cost.

    Args:
        place: folder for all files.
        number: of models.
        repeats: of each of the two commands that find nothing to do.
    """
    section = Section(NAME)
    tickers = [f"T{index:03d}" for index in range(number)]
    project = make_project(place, "many", tickers, SESSIONS, EPOCHS)
    for stage in STAGES:
        _say(f"{stage}, {number} models")
        measured = place.run("mlops", stage, cwd=project.root, memory=True, seconds=1800)
        section.rows += _stage_rows(stage, number, measured)
        section.raw[stage] = figures(measured)
    _simulate(place, project, section)
    _nothing_to_do(place, project, section, repeats)
    return section


def _stage_rows(stage: str, number: int, measured: Measured) -> list[Row]:
    return [
        Row(f"`mlops {stage}`, {number} models", measured.wall, "s"),
        Row(f"`mlops {stage}`, {number} models: peak memory", measured.tree_bytes / MEGABYTE, "MB"),
    ]


def _simulate(place: Workplace, project: BenchProject, section: Section) -> None:
    number = len(project.tickers)
    _say(f"simulate, {number} models")
    measured = place.run("mlops", "simulate", cwd=project.root, memory=True)
    forecasts = pd.read_parquet(project.root / "simulation" / "reports" / SCENARIO / "forecasts.parquet")
    if len(forecasts) != number * HELD_OUT:
        raise BenchError(f"simulate made {len(forecasts)} forecasts, expected {number} models x {HELD_OUT} sessions")
    peak = max(measured.largest_bytes, measured.tree_bytes) / MEGABYTE
    what = f"`mlops simulate`, {number} models x {HELD_OUT} sessions"
    section.rows += [
        Row(what, measured.wall, "s", f"<= {SIMULATE_SECONDS:g} s (reckoned)", met=measured.wall <= SIMULATE_SECONDS),
        Row(
            f"{what}: peak memory",
            peak,
            "MB",
            f"<= {SIMULATE_MEGABYTES:g} MB (reckoned)",
            met=peak <= SIMULATE_MEGABYTES,
        ),
    ]
    section.raw["simulate"] = figures(measured)


def _nothing_to_do(place: Workplace, project: BenchProject, section: Section, repeats: int) -> None:
    number = len(project.tickers)
    _say("mlops run: all is finished, but not yet in DVC's cache")
    taken = place.run("mlops", "run", cwd=project.root, seconds=1800)
    ours, dvcs = [], []
    for repeat in range(repeats):
        _say(f"nothing to do: {repeat + 1} of {repeats}")
        dvcs.append(_no_op(place, project, "dvc", "repro"))
        ours.append(_no_op(place, project, "mlops", "run"))
    theirs, mine = (median(run.wall for run in runs) for runs in (dvcs, ours))
    section.rows += [
        Row(f"first `mlops run` after the stages by hand, {number} models: each checks, DVC caches", taken.wall, "s"),
        Row(f"nothing to do, {number} models: `dvc repro` (median of {repeats})", theirs, "s"),
        Row(
            f"nothing to do, {number} models: `mlops run` (median of {repeats})",
            mine,
            "s",
            ratio=mine / theirs,
            ratio_of="of dvc repro",
        ),
        Row(
            "nothing to do: `mlops run` over DVC's own",
            mine - theirs,
            "s",
            f"<= {OVER_DVC_SECONDS:g} s (reckoned)",
            met=mine - theirs <= OVER_DVC_SECONDS,
        ),
    ]
    section.raw["first_run"] = figures(taken)
    section.raw["no_op"] = {"dvc_repro": [figures(run) for run in dvcs], "mlops_run": [figures(run) for run in ours]}


def _no_op(place: Workplace, project: BenchProject, *command: str) -> Measured:
    measured = place.run(*command, cwd=project.root)
    if UP_TO_DATE not in measured.output:
        raise BenchError(f"{' '.join(command)} had something to do:\n{measured.output[-2000:]}")
    return measured


def _say(text: str) -> None:
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)
