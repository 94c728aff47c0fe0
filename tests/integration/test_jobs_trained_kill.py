"""`kill -9` at any line of fetching, training and installing: each model asked for is there once, and whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mlops_cli.models.manifest import file_hashes
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import champion, model_versions
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import small_project
from tests.fakes.request_runner import queue_of

TICKERS = ("NEW", "ONE", "TWO", "SIX")
SEEDS = 3
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # the runner forks


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_model_is_installed_once_whenever_its_workers_are_killed(tmp_path: Path, seed: int) -> None:
    made = small_project(tmp_path / "p", ("AAA",), sessions=320)
    made.config("linear", "team: blue\nticker: AAA\ntrainer: drift\nfeatures: {returns: [1]}\n")
    params = made.root / "params.yaml"
    params.write_text(params.read_text().replace("min_sessions: 200", "min_sessions: 80"))
    (made.root / "data" / "incoming" / "AAA.csv").unlink()
    for number, ticker in enumerate(TICKERS):
        made.prices(ticker, random_prices(320, number))
    command = [sys.executable, "-m", "tests.fakes.request_runner", str(made.root), str(seed), "6"]
    env = {**os.environ, **ONE_THREAD}
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=env)
    killed, status = map(int, done.stdout.split())
    assert status == 0, done.stderr
    assert killed >= 3
    with closing(queue_of(made.project)) as queue:
        jobs = queue.jobs()
    assert {job.state for job in jobs} == {"done"}, [(job.model, job.reason) for job in jobs]
    root = made.project.model_root
    for job in jobs:
        (version,) = model_versions(root, "requested", job.model)
        assert (version.version, version.manifest.facts["job"]) == (job.version, job.number)
        assert file_hashes(version.folder) == version.manifest.files
        Model.open(version.folder)
        assert champion(root, "requested", job.model).version == version.version
    stored = {path.stem: json.loads(path.read_text())["ticker"] for path in made.project.requested.glob("[!.]*")}
    assert stored == {f"red-{ticker.lower()}": ticker for ticker in TICKERS}
