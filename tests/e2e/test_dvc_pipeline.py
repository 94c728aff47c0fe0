"""`mlops run` and `dvc repro` with the real DVC: the same results, nothing done twice, failures tried again."""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.cli import Cli, new_project
from tests.fakes.price_tables import random_prices

pytestmark = pytest.mark.slow

CONFIGS = {
    "mine/drift.yaml": "team: drift\ntickers: [AAA, BBB, CCC]\ntrainer: drift\n",
    "mine/one.yaml": "team: one\nticker: AAA\ntrainer: naive\n",
    "mine/gone.yaml": "team: gone\nticker: GONE\ntrainer: drift\n",
}
TRAINED = ["main/drift-aaa", "main/drift-bbb", "main/drift-ccc", "main/one-aaa"]


@dataclass
class Ran:
    """The same project run in two ways; three of its four tickers have prices."""

    by_mlops: Cli
    by_dvc: Cli
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("pipeline")
    tables = {ticker: random_prices(700, seed) for seed, ticker in enumerate(("AAA", "BBB", "CCC"))}
    by_mlops = new_project(folder / "by-mlops", tables, CONFIGS, {"main": "{collection: [configs/mine]}"})
    by_dvc = by_mlops.copy(folder / "by-dvc")
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(by_dvc.dvc, "repro")
        done = by_mlops.mlops("run", "--json")
        beside.result()
    return Ran(by_mlops, by_dvc, done)


def test_a_run_with_one_unknown_ticker_gives_the_results_of_the_others_and_exits_9(ran: Ran) -> None:
    assert ran.done.returncode == 9, ran.done.stderr
    summary = json.loads(ran.done.stdout)  # nothing else on stdout, whatever DVC and the stages print
    assert [entry["model"] for entry in summary["models"]] == [name.partition("/")[2] for name in TRAINED]
    assert summary == ran.by_mlops.json("simulation/reports/mine/summary.json")
    assert list(ran.by_mlops.models()) == TRAINED
    last = ran.done.stderr.strip().splitlines()[-3:]
    assert last[0].startswith("failed: gone-gone (ingest): GONE: no GONE.csv")
    assert last[2].startswith("1 model")
    assert "Traceback" not in ran.done.stderr


def test_dvc_repro_alone_gives_the_same_results(ran: Ran) -> None:
    ours, dvcs = ran.by_mlops.contents(), ran.by_dvc.contents()
    # the reasons of failures name the folder
    reasons = {name for name in ours if name.endswith("failures.json")}
    assert ours.keys() == dvcs.keys()
    assert [name for name in ours if name not in reasons and ours[name] != dvcs[name]] == []
    assert reasons
    metrics = json.loads(ran.by_dvc.dvc("metrics", "show", "--json"))
    assert "simulation/evaluation/main/metrics.json" in metrics[""]["data"]


def test_a_second_dvc_repro_does_nothing(ran: Ran) -> None:
    before = ran.by_dvc.models(), ran.by_dvc.contents(), (ran.by_dvc.root / "dvc.lock").read_bytes()
    said = ran.by_dvc.dvc("repro")
    assert "Running stage" not in said
    assert "up to date" in said
    assert (ran.by_dvc.models(), ran.by_dvc.contents(), (ran.by_dvc.root / "dvc.lock").read_bytes()) == before


def test_changing_one_models_yaml_trains_that_model_alone(ran: Ran, tmp_path: Path) -> None:
    cli = ran.by_dvc.copy(tmp_path / "changed")
    before = cli.models()
    cli.write("configs/mine/one.yaml", "team: one\nticker: AAA\ntrainer: drift\n")
    said = cli.dvc("repro", "train@main")
    after = cli.models()
    assert [name for name in TRAINED if after[name] != before[name]] == ["main/one-aaa"]
    assert "1 done, 3 unchanged, 1 failed" in said


def test_the_next_run_tries_the_failed_ticker_alone_until_its_prices_are_there(ran: Ran, tmp_path: Path) -> None:
    before, prices = ran.by_mlops.models(), _inodes(ran.by_mlops)
    again = ran.by_mlops.mlops("run", "--branch", "main", "--json")
    assert again.returncode == 9
    assert re.findall(r"Running stage '(.+)'", again.stderr) == ["ingest@main"], "it failed there, and changed nothing"
    assert (ran.by_mlops.models(), _inodes(ran.by_mlops)) == (before, prices), "neither fetched nor trained again"
    cli = ran.by_mlops.copy(tmp_path / "there")
    before = cli.models()
    cli.prices("GONE", random_prices(700, 9))
    there = cli.mlops("run", "--branch", "main")
    assert there.returncode == 0, there.stderr
    assert "failed" not in there.stderr.replace("0 failed", "")
    assert "gone-gone" in there.stdout
    assert not list(cli.root.glob("*/*/*/failures.json"))
    after = cli.models()
    assert sorted(after.keys() - before.keys()) == ["main/gone-gone"]
    assert {name: after[name] for name in before} == before


def test_a_ticker_that_was_missing_for_one_run_is_no_failure_any_more(ran: Ran) -> None:
    before = ran.by_mlops.models()
    path = ran.by_mlops.root / "data" / "incoming" / "CCC.csv"
    prices = path.read_bytes()
    path.unlink()
    missing = ran.by_mlops.mlops("run", "--branch", "main")
    assert _failed(missing) == {"gone-gone", "drift-ccc"}
    path.write_bytes(prices)
    # DVC takes what it kept of the first run, and runs no stage that could take the failure out of its notes
    back = ran.by_mlops.mlops("run", "--branch", "main")
    assert "Stage 'evaluate@main' is cached" in back.stderr
    assert (_failed(back), back.returncode) == ({"gone-gone"}, 9)
    assert ran.by_mlops.models() == before


def _failed(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The models in the list at the end."""
    return set(re.findall(r"^failed: (\S+)", done.stderr.rpartition("Data and pipelines are up to date")[2], re.M))


def _inodes(cli: Cli) -> dict[str, int]:
    """A price table that is written again gets another inode."""
    return {path.name: path.stat().st_ino for path in (cli.root / "data" / "prices" / "main").glob("*.parquet")}
