"""Serving many models: `mlops serve` against the floor, MLServer and `ludwig serve`, on the same models and machine."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench.bench_processes import BenchError
from tests.bench.bench_projects import Workplace
from tests.bench.bench_report import Row, Section
from tests.bench.serve_compare import Cell, ServerFigures, compare_servers, measure_ludwig, say
from tests.bench.serve_models import Collection, Seed, make_collection, train_seed
from tests.bench.serve_peers import Peer, floor, install_forms, install_mlserver, ludwig_serve, mlserver, ours
from tests.bench.serve_single import all_forecasts, cold_loads, cycle
from tests.bench.serve_tables import (
    cold_rows,
    cycle_rows,
    forecast_rows,
    load_rows,
    raw_figures,
    start_rows,
    target_rows,
)

NAME = "serve"
CONNECTIONS = (1, 8, 64)
BUDGETS_MB = (300, 30)  # all of 3,000 such models fit into the first, a third into the second


@dataclass(frozen=True)
class ServeSize:
    """How much is measured.

    Attributes:
        numbers: of models with which all servers are compared, ascending; the last one with every load.
        cycled: models that `mlops serve` is asked for in turn with little memory.
        rounds: per load; the median is reported.
        seconds: per load.
    """

    numbers: tuple[int, ...]
    cycled: int
    rounds: int
    seconds: int


def compare(place: Workplace, size: ServeSize) -> Section:
    """Measure everything. A part that fails gets a row with the reason, and the others are still measured.

    Args:
        place: folder for all files.
        size: how much to measure.
    """
    section = Section(NAME)
    say("training the model that all others are copies of")
    seed = train_seed(place)
    peers, additions = _peers(place, section)
    measured: dict[int, dict[str, ServerFigures]] = {}
    collections = {n: make_collection(place.folder / f"models-{n}", seed, n) for n in size.numbers}
    for number, collection in collections.items():
        whole = number == size.numbers[-1]
        cells = _cells() if whole else [("uniform", 8)]
        folder = place.folder / f"compare-{number}"
        servers, failed = compare_servers(peers, collection, cells, size.rounds, size.seconds, folder)
        measured[number] = servers
        for name, why in failed.items():
            _missing(section, f"{number:,} models, {name}", BenchError(why))
    largest = collections[size.numbers[-1]]
    ludwig = _ludwig(place, section, (seed, largest, size), additions)
    section.rows += target_rows(measured[size.numbers[-1]], ludwig, size.numbers[-1])
    _alone(place, section, seed, largest, size.cycled)
    section.rows += start_rows(measured, ludwig) + load_rows(measured, ludwig)
    section.raw |= raw_figures(measured, ludwig)
    return section


def _peers(place: Workplace, section: Section) -> tuple[list[Peer], Any]:
    """The servers that can be installed here, and the folder with the packages that `ludwig serve` lacks."""
    peers = [floor("asgi"), ours(), floor("fastapi")]
    additions = None
    try:
        peers.append(mlserver(install_mlserver(place.folder / "mlserver.log")))
    except BenchError as error:
        _missing(section, "MLServer: no environment", error)
    try:
        additions = install_forms(place.folder / "forms.log")
    except BenchError as error:
        _missing(section, "ludwig serve: no python-multipart", error)
    return peers, additions


def _cells() -> list[Cell]:
    return [(kind, connections) for kind in ("uniform", "Zipf", "one") for connections in CONNECTIONS]


def _ludwig(
    place: Workplace, section: Section, what: tuple[Seed, Collection, ServeSize], additions: Any
) -> ServerFigures | None:
    if additions is None:
        return None
    seed, collection, size = what
    try:
        return measure_ludwig(
            ludwig_serve(seed, additions), seed, collection, 3 * size.seconds, place.folder / "ludwig-serve"
        )
    except BenchError as error:
        _missing(section, "ludwig serve", error)
        return None


def _alone(place: Workplace, section: Section, seed: Seed, largest: Collection, cycled: int) -> None:
    """Measurements of `mlops serve` alone."""
    number = len(largest.names)
    say("models asked for the first time")
    _try(section, "cold loads", lambda: cold_rows(cold_loads(largest, place.folder / "cold")))
    say("all forecasts")
    what = f"`GET /forecasts`, {number:,} models"
    _try(section, what, lambda: forecast_rows(what, all_forecasts(largest, place.folder / "forecasts")))
    for budget in BUDGETS_MB:
        say(f"{cycled} models in a budget of {budget} MB")
        folder = place.folder / f"cycled-{budget}"
        collection = make_collection(folder, seed, cycled, {"memory_budget": budget})
        what = f"three rounds through {cycled:,} models, budget {budget} MB"

        def rows(folder: Any = folder, collection: Any = collection, what: str = what, budget: int = budget) -> Any:
            return cycle_rows(what, budget, cycle(collection, 3, folder / "log"))

        _try(section, what, rows)


def _try(section: Section, what: str, measure: Callable[[], tuple[list[Row], Any]]) -> None:
    try:
        rows, raw = measure()
    except BenchError as error:
        _missing(section, what, error)
    else:
        section.rows += rows
        section.raw[what] = raw


def _missing(section: Section, what: str, error: BenchError) -> None:
    """A row with the reason why there is no figure; the whole message goes to stderr."""
    print(f"serve: {what}: {error}", file=sys.stderr, flush=True)
    section.rows.append(Row(f"{what}: not measured: {str(error).splitlines()[-1][:120]}", math.nan, ""))
