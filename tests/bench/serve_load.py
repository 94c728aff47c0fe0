"""Load from a separate process (wrk, or a client in Python) that waits for an answer before it sends again."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from tests.bench.bench_processes import BenchError, clean_environment, measure
from tests.bench.bench_projects import BINARIES

LUA = Path(__file__).with_name("serve_load.lua")
CLIENT = Path(__file__).with_name("serve_client.py")
ORDER = 50_000  # requests after which the order of the models repeats; the row of each request is random
BODIES = (
    20_000  # twice the size of the answer cache, which therefore cannot answer for the models, even for a single one
)
ZIPF = 1.1  # exponent: of 1,000 models, the first gets 18 % of the requests, the first ten 46 %


@dataclass(frozen=True)
class Figures:
    """The figures of one load.

    Attributes:
        requests: answered in `seconds`.
        p50_ms: median time of an answer.
        p99_ms: 99th percentile of the time of an answer.
        refused: answers with a status other than 2xx or 3xx.
        broken: failed connections, and requests that were never answered.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def write_load(folder: Path, paths: Sequence[str], order: np.ndarray, bodies: Sequence[str], kind: str) -> Path:
    """Write the requests that a load generator sends.

    Args:
        folder: created for the files.
        paths: to which requests are posted.
        order: positions in `paths`, one for each request.
        bodies: of the requests, ASCII, one line each; padded to equal length.
        kind: content type of the bodies.
    """
    folder.mkdir(parents=True)
    longest = max(map(len, bodies))
    (folder / "head").write_text("\n".join([kind, *paths]) + "\n")
    (folder / "order").write_text("\n".join(map(str, order + 1)) + "\n")
    (folder / "bodies").write_text("\n".join(body.ljust(longest) for body in bodies) + "\n")
    return folder


def orders(number: int) -> dict[str, np.ndarray]:
    """The model (of `number`) that each request asks: always the same, all equally often, or by Zipf's law."""
    random = np.random.default_rng(7)
    weights = 1 / np.arange(1, number + 1) ** ZIPF
    return {
        "one": np.zeros(1, dtype=int),
        "uniform": random.integers(number, size=ORDER),
        "Zipf": random.choice(number, size=ORDER, p=weights / weights.sum()),
    }


def infer_bodies(rows: np.ndarray) -> list[str]:
    """Bodies of the Open Inference Protocol with one row each, drawn from `rows` with a little noise."""
    return [
        json.dumps(
            {"inputs": [{"name": "features", "shape": [1, len(row)], "datatype": "FP32", "data": row}]},
            separators=(",", ":"),
        )
        for row in _drawn(rows)
    ]


def form_bodies(rows: np.ndarray, columns: Sequence[str]) -> list[str]:
    """The same rows in the format of `ludwig serve`: a form with a field for each column; all of equal length."""
    return [
        urlencode({name: f"{value:012.7f}" for name, value in zip(columns, row, strict=True)}) for row in _drawn(rows)
    ]


def load(address: str, what: Path, connections: int, seconds: int) -> Figures:
    """Send requests over several connections, each as soon as the last one is answered.

    Args:
        address: `http://host:port`.
        what: folder written by `write_load`.
        connections: number of simultaneous connections.
        seconds: duration; wrk accepts whole seconds only.

    Raises:
        BenchError: the generator failed, or nothing was answered.
    """
    if shutil.which("wrk"):
        command: list[str | Path] = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "10s",
            "-s",
            LUA,
            address,
        ]
        command += ["--", what]
    else:
        command = [sys.executable, CLIENT, address, what, str(connections), str(seconds)]
    environment = clean_environment(BINARIES)
    log = what / "log"
    output = measure(command, cwd=what, log=log, environment=environment, seconds=seconds + 30).output
    line = re.search(r"FIGURES (\{.*\})", output)
    if line is None:
        raise BenchError(f"the load generator gave no figures:\n{output[-2000:]}")
    figures = Figures(**json.loads(line.group(1)))
    if not figures.requests:
        raise BenchError(f"{address}: no request was answered: {asdict(figures)}")
    return figures


def _drawn(rows: np.ndarray) -> list[list[float]]:
    random = np.random.default_rng(7)
    drawn = rows[random.integers(len(rows), size=BODIES)] * (1 + 0.01 * random.standard_normal((BODIES, 1)))
    return [[round(float(value), 7) for value in row] for row in drawn]
