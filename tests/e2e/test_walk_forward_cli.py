"""Walk-forward by the real commands and the real DVC: only `simulate` runs again, once, and bad values are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.fakes.cli import Cli, new_project
from tests.fakes.price_tables import random_prices

pytestmark = pytest.mark.slow

CONFIGS = {"mine/drift.yaml": "team: drift\ntickers: [AAA, BBB]\ntrainer: drift\n"}
REPORT = "simulation/reports/mine"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    tables = {ticker: random_prices(700, seed) for seed, ticker in enumerate(("AAA", "BBB"))}
    cli = new_project(tmp_path_factory.mktemp("walk") / "p", tables, CONFIGS, {"main": "{collection: [configs/mine]}"})
    done = cli.mlops("run")
    assert done.returncode == 0, done.stderr
    return cli


def stages(stderr: str) -> list[str]:
    return re.findall(r"Running stage '(.+)'", stderr)


def test_the_key_runs_simulate_alone_and_again_what_could_not_be_retrained(ran: Cli, tmp_path: Path) -> None:
    cli = ran.copy(tmp_path / "p")
    frozen = cli.json(f"{REPORT}/summary.json")
    done = cli.mlops("run", "--set", "simulation.retrain=monthly")
    assert done.returncode == 0, done.stderr
    assert stages(done.stderr) == ["simulate"]
    assert "Walk-forward, retrained monthly: " in done.stdout
    summary = cli.json(f"{REPORT}/summary.json")
    assert {key: summary[key] for key in frozen} == frozen
    assert stages(cli.mlops("run").stderr) == []
    noted = [{"model": "drift-aaa", "stage": "simulate", "reason": "no memory", "exit_code": 5}]
    cli.write(f"{REPORT}/failures.json", json.dumps(noted))
    again = cli.mlops("run")
    assert again.returncode == 0, again.stderr
    assert stages(again.stderr) == ["simulate"], "forced once; then DVC finds everything up to date"
    assert not (cli.root / REPORT / "failures.json").exists()
    back = cli.mlops("run", "--set", "simulation.retrain=never")
    assert "Walk-forward" not in back.stdout
    assert cli.json(f"{REPORT}/summary.json") == frozen


def test_a_project_without_the_key_runs(ran: Cli) -> None:
    assert "retrain" not in (ran.root / "params.yaml").read_text()
    assert "up to date" in ran.dvc("repro")


def test_the_option_overrides_the_file_for_once(ran: Cli, tmp_path: Path) -> None:
    cli = ran.copy(tmp_path / "p")
    params = (cli.root / "params.yaml").read_bytes()
    done = cli.mlops("simulate", "--retrain", "30", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["walk_forward"]["retrain"] == 30
    assert (cli.root / "params.yaml").read_bytes() == params, "so that the next one does not retrain"


def test_bad_values_are_refused_with_3(ran: Cli) -> None:
    before = ran.contents()
    done = ran.mlops("simulate", "--retrain", "daily")
    assert done.returncode == 3
    assert (
        "--retrain: expected never, monthly, quarterly, yearly or a whole number of sessions of at least 1, was 'daily'"
        in (done.stderr)
    )
    done = ran.mlops("simulate", "--set", "simulation.retrain=0")
    assert done.returncode == 3
    assert (
        "params.yaml: simulation.retrain: expected never, monthly, quarterly, yearly or a whole number" in done.stderr
    )
    assert ran.contents() == before
