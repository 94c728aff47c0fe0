"""Killed at any place, nothing runs on alone, the next run goes on at once, and the end is as if nothing had been."""

from __future__ import annotations

import contextlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes.cli import Cli, interrupt, kill, new_project
from tests.fakes.price_tables import random_prices

pytestmark = pytest.mark.slow

TICKERS = ("AAA", "BBB", "CCC")
TEAMS = 24
SECONDS_TO_DIE = 10  # they take one; a loaded machine is given more
ENOUGH = 5


@dataclass
class Undisturbed:
    """A project whose features are ready, and the models of a training that nothing disturbed."""

    cli: Cli
    models: dict[str, tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("kill")
    configs = {
        f"mine/t{number:02d}.yaml": f"team: t{number:02d}\ntickers: [{', '.join(TICKERS)}]\ntrainer: drift\n"
        f"features: {{returns: [1, {number + 2}]}}\n"
        for number in range(TEAMS)
    }
    configs["other.yaml"] = "team: other\nticker: AAA\ntrainer: naive\n"
    tables = {ticker: random_prices(700, seed) for seed, ticker in enumerate(TICKERS)}
    # the second branch gives DVC something to go on with when a stage of the first one fails
    branches = {"main": "{collection: [configs/mine]}", "run": "{collection: [configs/other.yaml]}"}
    cli = new_project(folder / "p", tables, configs, branches)
    # one after another: a fleet this small would be trained and installed in one go
    assert cli.mlops("ingest", "--set", "training.strategy=sequential").returncode == 0
    cli.dvc("repro", "featurize")
    whole = cli.copy(folder / "undisturbed")
    done = whole.mlops("train")
    assert done.returncode == 0, done.stderr
    return Undisturbed(cli, _bytes(whole))


@pytest.fixture
def untrained(undisturbed: Undisturbed) -> Cli:
    """The shared project without its models, and without what DVC remembers of training them."""
    root = undisturbed.cli.root
    for left in ("models/main", "models/run", ".mlops", ".dvc/cache/runs"):
        shutil.rmtree(root / left, ignore_errors=True)
    return undisturbed.cli


@pytest.mark.parametrize(
    ("command", "victim"),
    [
        (("mlops", "run"), ("mlops", "run")),
        (("mlops", "run"), ("dvc", "repro")),
        (("mlops", "run", "--branch", "main"), ("mlops", "train")),
        (("dvc", "repro", "train"), ("dvc", "repro")),
    ],
    ids=["mlops run", "dvc under mlops run", "a stage", "dvc alone"],
)
def test_kill_9_of_any_process_leaves_none_behind_and_training_goes_on(
    untrained: Cli, undisturbed: Undisturbed, command: tuple[str, ...], victim: tuple[str, ...]
) -> None:
    with untrained.start(*command) as tree:
        tree.until(lambda: len(_installed(untrained)) >= ENOUGH, f"{ENOUGH} models")
        stage = tree.find("mlops", "train")
        stage.suspend()  # else it may be through with its work before it sees what has happened
        kill(tree.find(*victim))
        with contextlib.suppress(psutil.NoSuchProcess):
            stage.resume()
        tree.gone(within=SECONDS_TO_DIE)
        assert tree.process.returncode != 0
        assert "Running stage 'train@run'" not in "".join(tree.output())
    kept = _installed(untrained)
    assert ENOUGH <= len(kept) < TEAMS * len(TICKERS), "the stage was stopped, not waited for"
    report, _ = _train_again(untrained)
    assert kept <= set(report["unchanged"]), "what was finished is not trained again"
    assert len(report["done"]) + len(report["unchanged"]) == TEAMS * len(TICKERS)
    assert _bytes(untrained) == undisturbed.models
    assert not list((untrained.root / "models" / ".staging").rglob("model.onnx"))


def test_ctrl_c_ends_with_130_and_the_next_run_finishes(untrained: Cli, undisturbed: Undisturbed) -> None:
    with untrained.start("mlops", "run") as tree:
        tree.until(lambda: len(_installed(untrained)) >= ENOUGH, f"{ENOUGH} models")
        interrupt(tree)
        tree.gone(within=SECONDS_TO_DIE)
        _, said = tree.output()
        assert tree.process.returncode == 130
        assert "run the same command again to go on" in said
        assert "Traceback" not in said
    kept = _installed(untrained)
    done = untrained.mlops("run", "--branch", "main", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["main"]) == TEAMS * len(TICKERS)
    unchanged = int(done.stderr.partition("train main: ")[2].partition(" done, ")[2].split()[0])
    assert unchanged >= len(kept) >= ENOUGH
    assert _bytes(untrained) == {name: files for name, files in undisturbed.models.items() if name.startswith("main/")}


def test_a_second_run_at_the_same_time_leaves_the_first_alone(untrained: Cli, undisturbed: Undisturbed) -> None:
    with untrained.start("mlops", "run", "--branch", "run") as tree:
        tree.find("mlops", "train")
        second = untrained.mlops("run")
        assert second.returncode == 8
        assert "another mlops run" in second.stderr
        tree.output()
        assert tree.process.returncode == 0
    assert _bytes(untrained) == {name: files for name, files in undisturbed.models.items() if name.startswith("run/")}


LUDWIG = "{combiner: {type: concat, num_fc_layers: 1, output_size: 8}, trainer: {epochs: 2, batch_size: 128}}"


@pytest.mark.ludwig
def test_kill_9_in_the_middle_of_training_with_ludwig(tmp_path: Path) -> None:
    cli = new_project(
        tmp_path / "p",
        {ticker: random_prices(700, seed) for seed, ticker in enumerate(TICKERS)},
        {
            f"mine/{team}.yaml": f"team: {team}\ntickers: [{', '.join(TICKERS)}]\n"
            f"features: {{returns: [1, 2, 5], volatility: [5]}}\nludwig: {LUDWIG}\n"
            for team in ("red", "blue")
        },
        {"main": "{collection: [configs/mine]}"},
    )
    cli.write(
        "configs/mine/wrong.yaml", "team: wrong\nticker: AAA\nfeatures: small\nludwig: {combiner: {type: konkat}}\n"
    )
    # one after another: a fleet this small would be trained and installed in one go
    assert cli.mlops("ingest", "--set", "training.strategy=sequential").returncode == 0
    cli.dvc("repro", "featurize")
    whole = cli.copy(tmp_path / "undisturbed")
    with cli.start("mlops", "run") as tree:
        tree.find("mlops_cli.training.local.ludwig_worker")
        tree.until(lambda: len(_installed(cli)) >= 2, "two models")
        tree.process.kill()
        tree.gone(within=SECONDS_TO_DIE)
    kept, written = _installed(cli), _weights(cli)
    assert 2 <= len(kept) < 6
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(whole.mlops, "train")
        done = cli.mlops("run")
        assert beside.result().returncode == 9
    assert done.returncode == 9, done.stderr
    assert "configs/mine/wrong.yaml: Ludwig refuses the config: ludwig.combiner.type: 'konkat'" in done.stderr
    assert done.stderr.strip().endswith("1 models failed; the next mlops run tries these again")
    assert f"train main: {6 - len(kept)} done, {len(kept)} unchanged, 1 failed" in done.stderr
    assert written.items() <= _weights(cli).items(), "what was finished is not trained again"
    assert _bytes(cli) == _bytes(whole)


def _weights(cli: Cli) -> dict[str, tuple[float, bytes]]:
    """Copied, time stamp included, when only the shrinkage of a model changes."""
    return {
        path.parent.parent.name: (path.stat().st_mtime, path.read_bytes())
        for path in (cli.root / "models" / "main").glob("*/ludwig/model_weights.safetensors")
    }


def _installed(cli: Cli) -> set[str]:
    return {path.parent.name for path in (cli.root / "models" / "main").glob("*/manifest.json")}


def _bytes(cli: Cli) -> dict[str, tuple[bytes, bytes]]:
    return {name: (graph, manifest) for name, (_, graph, manifest) in cli.models().items()}


def _train_again(cli: Cli) -> list[dict[str, Any]]:
    done = cli.mlops("train", "--json")
    assert done.returncode == 0, done.stderr
    reports: list[dict[str, Any]] = json.loads(done.stdout)
    return reports
