"""The tables of the serving benchmark, and its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from tests.bench.bench_report import Row
from tests.bench.serve_compare import Cell, ServerFigures
from tests.bench.serve_peers import floor, ours
from tests.bench.serve_single import Cold, Cycled, p99

MEGABYTE = 1e6
OURS, BARE = ours().name, floor("asgi").name
OVER_MLSERVER, OVER_LUDWIG, OF_FLOOR = 3.0, 100.0, 0.8
P99_MS = {8: 10.0, 64: 60.0}
ANSWERS_MEGABYTES = 25.0  # memory of 10,000 answers in the cache, and memory that Python does not return
ALL_MEGABYTES, LESS_PER_MODEL, COLD_MS, FORECASTS_MS = 500.0, 2000.0, 15.0, 100.0


def _at_most(what: str, value: float, unit: str, limit: float) -> Row:
    return Row(what, value, unit, f"<= {limit:g} {unit}", met=value <= limit)


def target_rows(measured: dict[str, ServerFigures], ludwig: ServerFigures | None, number: int) -> list[Row]:
    """Rows with targets, for the largest collection with random models."""
    mine = measured.get(OURS)
    if mine is None:
        return []
    rows = []
    for connections, limit in P99_MS.items():
        cell = ("uniform", connections)
        what = f"{number:,} random models, {connections} connections: `{OURS}`"
        for name, least in _rivals(measured):
            ratio = mine.rate(cell) / measured[name].rate(cell)
            rows.append(_ratio_row(f"{what} against {name}", mine.rate(cell), ratio, least, name))
        rows.append(_at_most(f"{what}: p99", mine.p99(cell), "ms", limit))
    if mine.rungs:
        full = sum(count for name, count in mine.rungs.items() if "full" in name) / sum(mine.rungs.values())
        rows.append(Row(f"share of full answers of `{OURS}` in all loads over {number:,} models", full, ""))
    rows.append(_at_most(f"memory of `{OURS}`, {number:,} models loaded", mine.bytes / MEGABYTE, "MB", ALL_MEGABYTES))
    if ludwig is not None:
        best = max(ludwig.rate(cell) for cell in ludwig.runs)
        rate = mine.rate(("uniform", 8))
        what = f"{number:,} random models, 8 connections: `{OURS}` against ludwig serve's best, with one model"
        rows.append(_ratio_row(what, rate, rate / best, OVER_LUDWIG, "ludwig serve"))
        each = mine.bytes / number
        less = ludwig.bytes / each
        what = f"memory per model of `{OURS}`, {number:,} models, against ludwig serve"
        asked = f">= {LESS_PER_MODEL:g} x less"
        rows.append(Row(what, each / MEGABYTE, "MB", asked, met=less >= LESS_PER_MODEL, ratio=less, ratio_of="less"))
    return rows


def _rivals(measured: dict[str, ServerFigures]) -> list[tuple[str, float]]:
    """The servers to compare with, and the target for the ratio of the rates."""
    servers = [(name, OVER_MLSERVER) for name in measured if name.startswith("MLServer")]
    return [(BARE, OF_FLOOR)] * (BARE in measured) + servers


def _ratio_row(what: str, rate: float, ratio: float, least: float, name: str) -> Row:
    return Row(what, rate, "req/s", f">= {least:g} x", met=ratio >= least, ratio=ratio, ratio_of=name)


def cold_rows(cold: Cold) -> tuple[list[Row], Any]:
    """Rows of the first requests, and their figures for the JSON document."""
    rows = []
    for when, took in (("never served before", cold.first), ("after a restart", cold.again)):
        what = f"first request to each of {len(took):,} models, {when}"
        rows += [_at_most(f"{what}: p99", p99(took), "ms", COLD_MS), Row(f"{what}: p50", median(took), "ms")]
    rows.append(Row(f"start with {len(cold.again):,} models after a restart", cold.starts[-1], "s"))
    return rows, asdict(cold)


def forecast_rows(what: str, took: Sequence[float]) -> tuple[list[Row], Any]:
    """Rows of all forecasts in one request."""
    rows = [
        _at_most(f"{what}: median of {len(took) - 1}", median(took[1:]), "ms", FORECASTS_MS),
        Row(f"{what}: the first one, which loads all models and reads all feature tables", took[0], "ms"),
    ]
    return rows, took


def cycle_rows(what: str, budget: int, measured: Cycled) -> tuple[list[Row], Any]:
    """Rows of many models in little memory; `budget` in MB."""
    start = measured.start_bytes / MEGABYTE
    limit = start + budget + ANSWERS_MEGABYTES
    rows = [
        Row(
            f"{what}: memory of all of `{OURS}`",
            measured.bytes / MEGABYTE,
            "MB",
            f"<= {limit:.0f} MB: {start:.0f} at the start, {budget} of models, {ANSWERS_MEGABYTES:.0f} of answers",
            met=measured.bytes / MEGABYTE <= limit,
        ),
        Row(f"{what}: models in memory at the end", measured.resident, ""),
        Row(f"{what}: p99 after the first round", p99(measured.milliseconds), "ms"),
    ]
    return rows, asdict(measured)


def start_rows(measured: dict[int, dict[str, ServerFigures]], ludwig: ServerFigures | None) -> list[Row]:
    """Rows of each server's start time and memory."""
    rows = []
    for number, servers in measured.items():
        models = "1 model" if number == 1 else f"{number:,} models"
        for name, server in servers.items():
            rows.append(Row(f"{models}, {name}: start", server.start_seconds, "s"))
            rows.append(Row(f"{models}, {name}: memory after all were asked", server.bytes / MEGABYTE, "MB"))
    if ludwig is not None:
        rows.append(Row("1 model, ludwig serve: start", ludwig.start_seconds, "s"))
        rows.append(Row("1 model, ludwig serve: memory", ludwig.bytes / MEGABYTE, "MB"))
    return rows


def load_rows(measured: dict[int, dict[str, ServerFigures]], ludwig: ServerFigures | None) -> list[Row]:
    """Rows of every load: requests per second, p50 and p99, and the ratio to the bare floor in the same cell."""
    rows = []
    for number, servers in measured.items():
        cells = dict.fromkeys(cell for server in servers.values() for cell in server.runs)
        for kind, connections in cells:
            which = f"the first of {number:,} models" if kind == "one" else f"{kind} over {number:,} models"
            where = f"{'1 model' if number == 1 else which}, c = {connections}"
            bare = servers.get(BARE)
            base = bare.rate((kind, connections)) if bare else None
            rows += [
                _load_row(f"{where}: {name}", server, (kind, connections), base) for name, server in servers.items()
            ]
    if ludwig is not None:
        rows += [_load_row(f"1 model, c = {cell[1]}: ludwig serve", ludwig, cell, None) for cell in ludwig.runs]
    return rows


def _load_row(what: str, server: ServerFigures, cell: Cell, base: float | None) -> Row:
    lost = server.lost(cell)
    unit = f"req/s; {server.p50(cell):.3g} / {server.p99(cell):.3g} ms" + (f"; {lost} lost" if lost else "")
    ratio = server.rate(cell) / base if base else None
    return Row(what, server.rate(cell), unit, ratio=ratio, ratio_of="the bare floor" if base else "")


def raw_figures(measured: dict[int, dict[str, ServerFigures]], ludwig: ServerFigures | None) -> dict[str, Any]:
    """Figures of every single load, for the JSON document."""
    everything = {str(number): servers for number, servers in measured.items()}
    if ludwig is not None:
        everything["ludwig serve"] = {"ludwig serve": ludwig}
    return {key: {name: _raw(server) for name, server in servers.items()} for key, servers in everything.items()}


def _raw(server: ServerFigures) -> dict[str, Any]:
    loads = {f"{kind}, {number}": [asdict(run) for run in runs] for (kind, number), runs in server.runs.items()}
    start, memory = round(server.start_seconds, 3), round(server.bytes / MEGABYTE, 1)
    return {"start_seconds": start, "memory_mb": memory, "loads": loads, "rungs": server.rungs}
