"""The same work done twice: by one `ludwig train` process per stock, and by one `mlops train` for all stocks."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.bench_processes import BenchError, Measured
from tests.bench.bench_projects import SEED, BenchProject, Workplace, ludwig_train, make_project
from tests.bench.bench_report import Row, Section

NAME = "train"
EPOCHS = 10
TARGET_RATIO, TARGET_COUNT = 10, 10
SAME_LOSS = 1e-3  # relative; both sides read the same float32 numbers, but one reads them from text
MEGABYTE = 1e6


@dataclass(frozen=True)
class Variant:
    """One way of running `mlops train`.

    Attributes:
        words: for the table.
        cold: no architecture has been exported before, as in a new project.
        tracking: MLflow is on and creates its database.
    """

    words: str
    cold: bool
    tracking: bool = False


COLD = Variant("first run of a project", cold=True)
WARM = Variant("architecture exported before", cold=False)
TRACKED = Variant("first run, tracked in MLflow", cold=True, tracking=True)


@dataclass(frozen=True)
class LudwigRun:
    """One `ludwig train` process and its validation losses."""

    measured: Measured
    losses: list[float]


def compare(place: Workplace, plan: Sequence[tuple[int, Sequence[Variant]]], sessions: int) -> Section:
    """Train the same models both ways, alternating.

    Args:
        place: folder for all files.
        plan: numbers of models, ascending, each with the variants of `mlops train` to measure.
        sessions: per price file.
    """
    section = Section(NAME)
    tickers = [f"T{number:03d}" for number in range(plan[-1][0])]
    projects = {n: _prepared(place, f"train-{n}", tickers[:n], sessions) for n, _ in plan}
    inputs = place.folder / "ludwig-inputs"
    inputs.mkdir()
    largest = projects[plan[-1][0]]
    # this also reads Ludwig from the disk before anything is timed
    place.run("python", "-m", "tests.bench.ludwig_inputs", largest.root, inputs)
    ludwig: dict[str, LudwigRun] = {}
    pipeline: dict[tuple[int, Variant], Measured] = {}
    differences: list[float] = []
    for number, variants in plan:
        for name in largest.names[len(ludwig) : number]:
            _say(f"ludwig train {len(ludwig) + 1} of {len(tickers)}")
            ludwig[name] = _ludwig_train(place, inputs, name)
        for variant in variants:
            _say(f"mlops train, {number} models, {variant.words}")
            pipeline[number, variant] = _mlops_train(place, projects[number], variant)
            differences += _differences(projects[number], ludwig)
    walls = [run.measured.wall for run in ludwig.values()]
    for number, variants in plan:
        section.rows += _rows(walls[:number], {variant: pipeline[number, variant] for variant in variants})
    section.rows += _memory_rows([run.measured for run in ludwig.values()], list(pipeline.values()))
    section.rows.append(
        Row(
            f"largest relative difference of the validation losses of all {EPOCHS} epochs between both",
            max(differences),
            "",
            f"<= {SAME_LOSS:g}",
            met=max(differences) <= SAME_LOSS,
        )
    )
    section.raw = _raw(ludwig, pipeline, inputs)
    return section


def _prepared(place: Workplace, name: str, tickers: Sequence[str], sessions: int) -> BenchProject:
    project = make_project(place, name, tickers, sessions, EPOCHS)
    for stage in ("ingest", "featurize"):
        place.run("mlops", stage, cwd=project.root)
    return project


def _ludwig_train(place: Workplace, inputs: Path, name: str) -> LudwigRun:
    measured, out = ludwig_train(place, inputs, name)
    (statistics,) = out.glob("*/training_statistics.json")
    losses = json.loads(statistics.read_text())["validation"]["combined"]["loss"]
    return LudwigRun(measured, losses)


def _mlops_train(place: Workplace, project: BenchProject, variant: Variant) -> Measured:
    shutil.rmtree(project.models, ignore_errors=True)
    if variant.cold:
        shutil.rmtree(project.root / ".mlops" / "graphs", ignore_errors=True)
    switch = "on" if variant.tracking else "off"
    return place.run("mlops", "train", cwd=project.root, memory=True, MLOPS_TRACKING=switch)


def _differences(project: BenchProject, ludwig: dict[str, LudwigRun]) -> list[float]:
    """Relative differences of the validation losses, for every epoch of every model.

    Raises:
        BenchError: the sides trained different numbers of epochs, or a loss is not a number.
    """
    differences = []
    for name in project.names:
        epochs = json.loads((project.models / name / "manifest.json").read_text())["epochs"]
        theirs = ludwig[name].losses
        if not len(epochs) == len(theirs) == EPOCHS:
            raise BenchError(f"{name}: mlops trained {len(epochs)} epochs, ludwig {len(theirs)}, asked were {EPOCHS}")
        pairs = zip(epochs, theirs, strict=True)
        differences += [abs(epoch["validation_loss"] - loss) / abs(loss) for epoch, loss in pairs]
    if not all(math.isfinite(value) for value in differences):
        raise BenchError(f"{project.root.name}: a validation loss is not a number: {differences}")
    return differences


def _rows(walls: list[float], pipeline: dict[Variant, Measured]) -> list[Row]:
    number, alone = len(walls), sum(walls)
    rows = [Row(f"N = {number}: `ludwig train`, one process each: per model", alone / number, "s")]
    for variant, measured in pipeline.items():
        ratio = alone / measured.wall
        asked = number == TARGET_COUNT
        rows.append(
            Row(
                f"N = {number}: `mlops train`, {variant.words}: per model",
                measured.wall / number,
                "s",
                f">= {TARGET_RATIO} x per model" if asked else "",
                met=ratio >= TARGET_RATIO if asked else None,
                ratio=ratio,
                ratio_of="faster",
            )
        )
    return rows


def _memory_rows(ludwig: list[Measured], pipeline: list[Measured]) -> list[Row]:
    alone, ours = (max(run.tree_bytes for run in runs) for runs in (ludwig, pipeline))
    return [
        Row("peak memory of a `ludwig train` process tree", alone / MEGABYTE, "MB"),
        Row(
            "peak memory of the `mlops train` process tree, its worker included",
            ours / MEGABYTE,
            "MB",
            ratio=ours / alone,
            ratio_of="of ludwig train",
        ),
    ]


def _raw(ludwig: dict[str, LudwigRun], pipeline: dict[tuple[int, Variant], Measured], inputs: Path) -> dict[str, Any]:
    return {
        "epochs": EPOCHS,
        "seed": SEED,
        "ludwig_train": [
            {
                "model": name,
                "rows": _lines(inputs / f"{name}.csv") - 1,
                "final_loss": run.losses[-1],
                **figures(run.measured),
            }
            for name, run in ludwig.items()
        ],
        "mlops_train": [
            {"models": number, **asdict(variant), **figures(measured)}
            for (number, variant), measured in pipeline.items()
        ],
    }


def figures(measured: Measured) -> dict[str, float]:
    """The figures of a run for the JSON document."""
    return {
        "seconds": round(measured.wall, 3),
        "cpu_seconds": round(measured.cpu, 3),
        "peak_tree_mb": round(measured.tree_bytes / MEGABYTE, 1),
        "peak_process_mb": round(measured.largest_bytes / MEGABYTE, 1),
    }


def _lines(path: Path) -> int:
    with path.open() as file:
        return sum(1 for _ in file)


def _say(text: str) -> None:
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)
