"""Measures the program; prints tables, and on request writes JSON and docs/benchmarks.md. `make bench` runs it.

Every figure comes from real processes of this environment, in a temporary folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this file is started by its path, and the imports below are relative to the repository

from tests.bench import bench_fleet, bench_many, bench_serve, bench_trade, bench_training  # noqa: E402
from tests.bench.bench_processes import BenchError  # noqa: E402
from tests.bench.bench_projects import Workplace  # noqa: E402
from tests.bench.bench_report import Row, Section, as_json, machine, print_table, write_docs  # noqa: E402
from tests.bench.bench_serve import ServeSize  # noqa: E402
from tests.bench.bench_trade import TradeSize  # noqa: E402
from tests.bench.bench_training import COLD, TRACKED, WARM, Variant  # noqa: E402

DOCS = ROOT / "docs" / "benchmarks.md"
HELP_CPU_SECONDS = 0.3
BUSY = 0.5  # load average per core above which the figures are not to be trusted


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        training: numbers of models that are trained both ways, ascending, each with the variants of the pipeline.
        sessions: per price file of that comparison.
        models: in the project with many models.
        repeats: of the comparison with nothing to do.
        helps: runs of `mlops --help`.
        fleets: numbers of models that are trained in every way, ascending.
        serve: load on the servers.
        trade: load on paper trading.
    """

    training: tuple[tuple[int, tuple[Variant, ...]], ...]
    sessions: int
    models: int
    repeats: int
    helps: int
    fleets: tuple[int, ...]
    serve: ServeSize
    trade: TradeSize


FULL = Size(
    ((3, (COLD, WARM)), (10, (COLD, WARM, TRACKED))),
    sessions=5000,
    models=200,
    repeats=5,
    helps=10,
    fleets=(10, 100, 500),
    serve=ServeSize((1, 100, 1000), cycled=3000, rounds=3, seconds=2),
    trade=TradeSize(10, sessions=1500, decided=1000, orders=4000, connections=(1, 8), repeats=3),
)
QUICK = Size(
    ((1, (TRACKED,)),),
    sessions=1000,
    models=3,
    repeats=2,
    helps=3,
    fleets=(3,),
    serve=ServeSize((1, 10), cycled=30, rounds=1, seconds=1),
    trade=TradeSize(2, sessions=1000, decided=10, orders=40, connections=(1, 2), repeats=1),
)


def help_cpu(place: Workplace, size: Size) -> Section:
    """Processor time of `mlops --help`."""
    runs = [place.run("mlops", "--help") for _ in range(size.helps)]
    middle = median(run.cpu for run in runs)
    section = Section("help", raw={"cpu_seconds": [run.cpu for run in runs], "seconds": [run.wall for run in runs]})
    section.rows = [
        Row(
            f"`mlops --help`: user + system CPU (median of {size.helps})",
            middle,
            "s",
            f"<= {HELP_CPU_SECONDS} s",
            met=middle <= HELP_CPU_SECONDS,
        ),
        Row(f"`mlops --help`: wall clock (median of {size.helps})", median(run.wall for run in runs), "s"),
    ]
    return section


SECTIONS: dict[str, Callable[[Workplace, Size], Section]] = {
    "help": help_cpu,
    bench_training.NAME: lambda place, size: bench_training.compare(place, size.training, size.sessions),
    bench_fleet.NAME: lambda place, size: bench_fleet.compare(place, size.fleets, size.sessions),
    bench_many.NAME: lambda place, size: bench_many.many_models(place, size.models, size.repeats),
    bench_serve.NAME: lambda place, size: bench_serve.compare(place, size.serve),
    bench_trade.NAME: lambda place, size: bench_trade.trading(place, size.trade),
}


def main() -> int:
    """Measure the sections that the arguments name; a section that fails does not stop the others."""
    options = _options()
    signal.signal(signal.SIGTERM, _stop)
    facts = machine()
    if facts["load_before"] > BUSY * facts["cores"]:
        print(f"note: load average {facts['load_before']}: other work makes every figure larger", file=sys.stderr)
    sections: list[Section] = []
    failed = False
    for name in options.only or SECTIONS:
        try:
            with tempfile.TemporaryDirectory(prefix="mlops-bench-", ignore_cleanup_errors=True) as folder:
                begun = time.monotonic()
                section = SECTIONS[name](Workplace(Path(folder)), QUICK if options.quick else FULL)
                section.seconds = time.monotonic() - begun
                sections.append(section)
        except BenchError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            failed = True
        except KeyboardInterrupt:
            print("\nstopped; its processes are ended, its temporary folder is removed", file=sys.stderr)
            return 130
    print_table(sections, facts)
    if options.json:
        options.json.write_text(json.dumps(as_json(sections, facts, options.quick), indent=2) + "\n")
    if options.write:
        write_docs(DOCS, sections, facts)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the pipeline on generated prices.")
    parser.add_argument("--quick", action="store_true", help="measure very little, only to show that this script works")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="only this section; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every run into FILE")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md")
    options = parser.parse_args()
    if options.write and options.quick:
        parser.error("--quick measures nothing worth writing: leave out --write")
    return options


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
