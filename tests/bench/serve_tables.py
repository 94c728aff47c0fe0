"""The tables of the serving benchmark, and what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from tests.bench.bench_report import Row
from tests.bench.serve_compare import Cell, Found
from tests.bench.serve_peers import floor, ours
from tests.bench.serve_single import Cold, Cycled, p99

MEGABYTE = 1e6
OURS, BARE = ours().name, floor("asgi").name
OVER_MLSERVER, OVER_LUDWIG, OF_FLOOR = 3.0, 100.0, 0.8
P99_MS = {8: 10.0, 64: 60.0}
ANSWERS_MEGABYTES = 25.0  # what 10,000 answers in the cache take, and what Python does not give back
ALL_MEGABYTES, LESS_PER_MODEL, COLD_MS, FORECASTS_MS = 500.0, 2000.0, 15.0, 100.0


def _at_most(what: str, value: float, unit: str, limit: float) -> Row:
    return Row(what, value, unit, f"<= {limit:g} {unit}", met=value <= limit)


def target_rows(found: dict[str, Found], ludwig: Found | None, number: int) -> list[Row]:
    """What was asked for, over so many random models."""
    mine = found.get(OURS)
    if mine is None:
        return []
    rows = []
    for connections, limit in P99_MS.items():
        cell = ("uniform", connections)
        what = f"{number:,} random models, {connections} connections: `{OURS}`"
        for name, least in _rivals(found):
            ratio = mine.rate(cell) / found[name].rate(cell)
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


def _rivals(found: dict[str, Found]) -> list[tuple[str, float]]:
    """Who is compared with, and how many times their rate was asked for."""
    servers = [(name, OVER_MLSERVER) for name in found if name.startswith("MLServer")]
    return [(BARE, OF_FLOOR)] * (BARE in found) + servers


def _ratio_row(what: str, rate: float, ratio: float, least: float, name: str) -> Row:
    return Row(what, rate, "req/s", f">= {least:g} x", met=ratio >= least, ratio=ratio, ratio_of=name)


def cold_rows(cold: Cold) -> tuple[list[Row], Any]:
    """First requests; with them the figures for the JSON."""
    rows = []
    for when, took in (("never served before", cold.first), ("after a restart", cold.again)):
        what = f"first request to each of {len(took):,} models, {when}"
        rows += [_at_most(f"{what}: p99", p99(took), "ms", COLD_MS), Row(f"{what}: p50", median(took), "ms")]
    rows.append(Row(f"start with {len(cold.again):,} models after a restart", cold.starts[-1], "s"))
    return rows, asdict(cold)


def forecast_rows(what: str, took: Sequence[float]) -> tuple[list[Row], Any]:
    """All forecasts in one request."""
    rows = [
        _at_most(f"{what}: median of {len(took) - 1}", median(took[1:]), "ms", FORECASTS_MS),
        Row(f"{what}: the first one, which loads all models and reads all feature tables", took[0], "ms"),
    ]
    return rows, took


def cycle_rows(what: str, budget: int, found: Cycled) -> tuple[list[Row], Any]:
    """Many models in little memory; `budget` in MB."""
    start = found.start_bytes / MEGABYTE
    limit = start + budget + ANSWERS_MEGABYTES
    rows = [
        Row(
            f"{what}: memory of all of `{OURS}`",
            found.bytes / MEGABYTE,
            "MB",
            f"<= {limit:.0f} MB: {start:.0f} at the start, {budget} of models, {ANSWERS_MEGABYTES:.0f} of answers",
            met=found.bytes / MEGABYTE <= limit,
        ),
        Row(f"{what}: models in memory at the end", found.resident, ""),
        Row(f"{what}: p99 after the first round", p99(found.milliseconds), "ms"),
    ]
    return rows, asdict(found)


def start_rows(found: dict[int, dict[str, Found]], ludwig: Found | None) -> list[Row]:
    """How long each server took to start, and its memory."""
    rows = []
    for number, servers in found.items():
        models = "1 model" if number == 1 else f"{number:,} models"
        for name, server in servers.items():
            rows.append(Row(f"{models}, {name}: start", server.start_seconds, "s"))
            rows.append(Row(f"{models}, {name}: memory after all were asked", server.bytes / MEGABYTE, "MB"))
    if ludwig is not None:
        rows.append(Row("1 model, ludwig serve: start", ludwig.start_seconds, "s"))
        rows.append(Row("1 model, ludwig serve: memory", ludwig.bytes / MEGABYTE, "MB"))
    return rows


def load_rows(found: dict[int, dict[str, Found]], ludwig: Found | None) -> list[Row]:
    """Every load: requests per second, with p50 and p99 beside; ratios to the bare floor of the same cell."""
    rows = []
    for number, servers in found.items():
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


def _load_row(what: str, server: Found, cell: Cell, base: float | None) -> Row:
    lost = server.lost(cell)
    unit = f"req/s; {server.p50(cell):.3g} / {server.p99(cell):.3g} ms" + (f"; {lost} lost" if lost else "")
    ratio = server.rate(cell) / base if base else None
    return Row(what, server.rate(cell), unit, ratio=ratio, ratio_of="the bare floor" if base else "")


def raw_figures(found: dict[int, dict[str, Found]], ludwig: Found | None) -> dict[str, Any]:
    """Every single load, for the JSON."""
    everything = {str(number): servers for number, servers in found.items()}
    if ludwig is not None:
        everything["ludwig serve"] = {"ludwig serve": ludwig}
    return {key: {name: _raw(server) for name, server in servers.items()} for key, servers in everything.items()}


def _raw(server: Found) -> dict[str, Any]:
    loads = {f"{kind}, {number}": [asdict(run) for run in runs] for (kind, number), runs in server.runs.items()}
    start, memory = round(server.start_seconds, 3), round(server.bytes / MEGABYTE, 1)
    return {"start_seconds": start, "memory_mb": memory, "loads": loads, "rungs": server.rungs}
