"""Time to train many models: with one `ludwig train` process each, one after another, as fleets, and at the floor."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mlops_cli.training.process_settings import PROCESS_SETTINGS
from tests.bench.bench_processes import BenchError, Measured
from tests.bench.bench_projects import BRANCH, ROOT, SCENARIO, BenchProject, Workplace, ludwig_train, make_project
from tests.bench.bench_report import Row, Section

NAME = "fleets"
EPOCHS = 10
LUDWIG_RUNS = 2  # before and after the rest
MEGABYTE = 1e6
UNIVERSE = ROOT.parent / "shared" / "data" / "universe"
HELD_OUT_DAYS = 180
FLEET_SECONDS, RUN_SECONDS, PEAK_MEGABYTES, OVER_PROCESSES, OVER_BARE = 0.05, 300.0, 4000.0, 300.0, 2.0


def compare(place: Workplace, numbers: tuple[int, ...], sessions: int) -> Section:
    """Measure every way of training; see docs/benchmarks.md.

    Args:
        place: folder for all files.
        numbers: of models, ascending; the largest also goes through the whole pipeline.
        sessions: per generated price file, if there are no real prices.
    """
    section = Section(NAME)
    project = _project(place, numbers[-1], sessions)
    section.rows += _pipeline(place, project)
    inputs = place.folder / "ludwig-inputs"
    inputs.mkdir()
    place.run("python", "-m", "tests.bench.ludwig_inputs", project.root, inputs, str(LUDWIG_RUNS))
    alone = [_ludwig_train(place, inputs, project.names[0])]
    _say("inside training processes")
    out = place.folder / "inside.json"
    inside = place.run(
        "python", "-m", "tests.bench.fleet_inside", project.root, out, *map(str, numbers), seconds=3000, memory=True,
        **PROCESS_SETTINGS,
    )  # fmt: skip
    figures = json.loads(out.read_text())
    alone += [_ludwig_train(place, inputs, project.names[run]) for run in range(1, LUDWIG_RUNS)]
    walls = [run.wall for run in alone]
    section.rows += _rows(numbers, sum(walls) / len(walls), figures)
    section.rows += [
        Row("peak memory of a `ludwig train` process tree", max(run.tree_bytes for run in alone) / MEGABYTE, "MB"),
        Row("peak memory of the measuring process and its training processes", inside.tree_bytes / MEGABYTE, "MB"),
    ]
    section.raw = {"ludwig_train": walls, "inside": figures}
    return section


def _pipeline(place: Workplace, project: BenchProject) -> list[Row]:
    number = len(project.tickers)
    _say(f"mlops run over {number} models")
    first = place.run("mlops", "run", cwd=project.root, seconds=1800, memory=True)
    summary = json.loads((project.root / "simulation" / "reports" / SCENARIO / "summary.json").read_text())
    if len(summary["models"]) != number:
        raise BenchError(f"{len(summary['models'])} of {number} models came through")
    again = place.run("mlops", "run", cwd=project.root)
    target = number >= 500
    return [
        Row(
            f"`mlops run`, ingest to simulate, {number} models",
            first.wall,
            "s",
            f"<= {RUN_SECONDS:g} s" if target else "",
            met=first.wall <= RUN_SECONDS if target else None,
        ),
        Row(
            f"`mlops run`, {number} models: peak memory of all its processes",
            first.tree_bytes / MEGABYTE,
            "MB",
            f"<= {PEAK_MEGABYTES:g} MB" if target else "",
            met=first.tree_bytes / MEGABYTE <= PEAK_MEGABYTES if target else None,
        ),
        Row(f"`mlops run` again, {number} models: nothing to do", again.wall, "s"),
    ]


def _rows(numbers: tuple[int, ...], alone: float, figures: dict[str, Any]) -> list[Row]:
    rows = [Row("(a) one `ludwig train` process per model: per model", alone, "s")]
    processes = figures["pool"]["processes"]
    limit = figures["flops_per_model"] / figures["flops_per_second"]
    for number in numbers:
        times, pool = figures["numbers"][str(number)], figures["pool"][str(number)]
        last = number >= 500
        over = times["fleet_loop"] / times["bare"]
        rows += [
            Row(f"(b) N = {number}: one after another in one process: per model", times["sequential"], "s"),
            Row(
                f"(c) N = {number}: fleet, {processes} processes that are up: read, train, export, check: per model",
                pool,
                "s",
                f"<= {FLEET_SECONDS} s, >= {OVER_PROCESSES:g} x (a)" if last else "",
                met=pool <= FLEET_SECONDS and alone / pool >= OVER_PROCESSES if last else None,
                ratio=alone / pool,
                ratio_of="faster than (a)",
            ),
            Row(
                f"(c) N = {number}: the same in one process: per model",
                times["fleet"],
                "s",
                ratio=times["sequential"] / times["fleet"],
                ratio_of="faster than (b)",
            ),
            Row(
                f"(c) N = {number}: of it training, one process: per model",
                times["fleet_loop"],
                "s",
                f"<= {OVER_BARE:g} x (d)",
                met=over <= OVER_BARE,
                ratio=over,
                ratio_of="(d)",
            ),
            Row(
                f"(d) N = {number}: bare PyTorch loop over stacked tensors, one process: per model",
                times["bare"],
                "s",
                ratio=times["bare"] / limit,
                ratio_of="the arithmetic limit",
            ),
        ]
    speed = figures["flops_per_second"] / 1e9
    rows.append(Row(f"arithmetic limit of one core at {speed:.0f} Gflop/s: per model", limit, "s"))
    if figures["device"] == "cpu":
        rows.append(Row("(c), (d) and ddp on a GPU: none at hand, not measured", float("nan"), ""))
    return rows


def _ludwig_train(place: Workplace, inputs: Path, name: str) -> Measured:
    _say(f"ludwig train, {name}")
    return ludwig_train(place, inputs, name)[0]


def _project(place: Workplace, number: int, sessions: int) -> BenchProject:
    """A project with real prices if there are some beside the repository, otherwise with generated ones."""
    files = sorted(UNIVERSE.glob("*.parquet"))[:number] if UNIVERSE.is_dir() else []
    if len(files) < number:
        project = make_project(place, "fleets", [f"T{index:03d}" for index in range(number)], sessions, EPOCHS)
    else:
        project = make_project(place, "fleets", [path.stem for path in files], 400, EPOCHS)
        incoming = project.root / "data" / "incoming"
        for path in incoming.glob("*.csv"):
            path.unlink()
        for path in files:
            shutil.copy(path, incoming / path.name)
        last = pd.Timestamp(pd.read_parquet(files[0])["Date"].iloc[-1]).date()
        start = last - pd.Timedelta(days=HELD_OUT_DAYS)
        scenario = {"start": start, "days": HELD_OUT_DAYS + 1}
        (project.root / "simulation" / f"{SCENARIO}.yaml").write_text(yaml.safe_dump(scenario))
    config = project.root / "configs" / "bench" / "models.yaml"
    content = yaml.safe_load(config.read_text())
    content["ludwig"]["combiner"]["dropout"] = 0.1
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    assert (project.root / "models").is_dir(), BRANCH
    return project


def _say(text: str) -> None:
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)
