"""Two teams on one stock, with a pipeline each: as branches of params.yaml, and as branches of git."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.fakes.cli import Cli, new_project
from tests.fakes.price_tables import random_prices

pytestmark = pytest.mark.slow

CONFIGS = {
    "red/aapl.yaml": "team: red\nticker: AAPL\ntrainer: drift\n",
    "blue/aapl.yaml": "team: blue\nticker: AAPL\ntrainer: naive\n",
}
BRANCHES = {"red-aapl": "{collection: [configs/red]}", "blue-aapl": "{collection: [configs/blue]}"}
STAGES = ("ingest", "featurize", "train", "evaluate")


def stock_project(root: Path) -> Cli:
    return new_project(root, {"AAPL": random_prices(700, 1)}, CONFIGS, BRANCHES)


@pytest.fixture(scope="module")
def stocks(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Both branches trained, each by `dvc repro` of its own stage."""
    cli = stock_project(tmp_path_factory.mktemp("stocks") / "p")
    assert _stages_run(cli.dvc("repro", "train@red-aapl")) == [f"{stage}@red-aapl" for stage in STAGES[:3]]
    assert list(cli.models()) == ["red-aapl/red-aapl"], "the other team's stock is left alone"
    assert _stages_run(cli.dvc("repro", "train@blue-aapl")) == [f"{stage}@blue-aapl" for stage in STAGES[:3]]
    return cli


def test_dvc_dag_shows_a_pipeline_each(stocks: Cli) -> None:
    drawn = stocks.dvc("dag", "--dot")
    for branch in BRANCHES:
        for before, after in pairwise(STAGES):
            assert f'"{before}@{branch}" -> "{after}@{branch}"' in drawn
    assert not re.search(r"red-aapl\" -> \"\w+@blue|blue-aapl\" -> \"\w+@red", drawn)


def test_simulate_compares_the_teams(stocks: Cli, tmp_path: Path) -> None:
    done = stocks.copy(tmp_path / "compared").mlops("simulate", "--json")
    assert done.returncode == 0, done.stderr
    teams = json.loads(done.stdout)["teams"]
    assert sorted(team["team"] for team in teams) == ["blue", "red"]
    assert [team["rank"] for team in teams] == [1, 2]
    assert teams[0]["mae"] <= teams[1]["mae"]
    naive = next(team for team in teams if team["team"] == "blue")
    assert naive["mae"] == pytest.approx(naive["mae_naive"])


def test_git_branches_bring_each_ones_models_back_without_training(stocks: Cli) -> None:
    cli = stocks
    trained = {name: files[1:] for name, files in cli.models().items()}
    cli.git("add", "-A")
    cli.git("commit", "-qm", "both branches, trained")
    for title in ("red/AAPL", "blue/AAPL"):
        cli.git("switch", "-q", "main")
        made = cli.mlops("branch", "create", title, "--git")
        assert made.returncode == 0, made.stderr
        lines = made.stdout.strip().splitlines()
        assert lines[:3] == [f"git switch {title}", "dvc checkout --allow-missing", "mlops run"]
        _follow(cli, lines, title)
    for title in ("blue/AAPL", "red/AAPL"):
        name = title.lower().replace("/", "-")
        cli.git("switch", "-q", title)
        cli.dvc("checkout")
        restored = cli.models()
        assert list(restored) == [f"{name}/{name}"]
        assert restored[f"{name}/{name}"][1:] == trained[f"{name}/{name}"]
    done = cli.mlops("run", "--json")
    assert done.returncode == 0, done.stderr
    assert _stages_run(done.stderr) == []
    assert cli.models() == restored
    assert [team["team"] for team in json.loads(done.stdout)["teams"]] == ["red"]
    assert cli.git("status", "--porcelain") == ""
    cli.git("switch", "-q", "main")
    cli.dvc("checkout", "--allow-missing")
    assert {name: files[1:] for name, files in cli.models().items()} == trained


def _follow(cli: Cli, lines: list[str], title: str) -> None:
    """Type lines that `branch create` printed; nothing that main has trained is trained again."""
    for line in lines:
        done = cli.run(["bash", "-c", line])
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert not [stage for stage in _stages_run(done.stderr) if stage.startswith(("ingest", "featurize", "train"))]
    assert cli.git("branch", "--show-current").strip() == title
    assert cli.git("status", "--porcelain") == ""


def _stages_run(said: str) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", said)
