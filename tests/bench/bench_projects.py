"""Projects with generated prices, and the commands that work on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from tests.bench.bench_processes import Measured, clean_environment, measure
from tests.fakes.price_tables import random_prices

ROOT = Path(__file__).resolve().parents[2]
BINARIES = ROOT / ".venv" / "bin"
BRANCH, SCENARIO, TEAM = "main", "bench", "bench"
SEED = 7
HELD_OUT = 125  # sessions after the scenario's start
FIRST_DAY = "2003-01-02"
CSV_COLUMNS = ["Open", "High", "Low", "Close", "Adj Close", "Volume"]


class Workplace:
    """A temporary folder, and a method to run commands in it.

    Args:
        folder: created if it does not exist; holds the projects and the output of every command.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True)
        self._numbers = count(1)

    def run(
        self, *command: str | Path, cwd: Path = ROOT, seconds: float = 600, memory: bool = False, **variables: str
    ) -> Measured:
        """Run one of the environment's programs (`mlops`, `dvc`, `ludwig`, `python`) and measure it."""
        program, *arguments = command
        log = self._logs / f"{next(self._numbers):04d}.log"
        environment = clean_environment(BINARIES, **variables)
        whole = [BINARIES / program, *arguments]
        return measure(whole, cwd=cwd, log=log, environment=environment, seconds=seconds, memory=memory)


@dataclass(frozen=True)
class BenchProject:
    """A project folder with one branch and one team."""

    root: Path
    tickers: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of its models, in the order of the tickers."""
        return [f"{TEAM}-{ticker.lower()}" for ticker in self.tickers]

    @property
    def models(self) -> Path:
        """Folder of its models."""
        return self.root / "models" / BRANCH


def ludwig_part(epochs: int) -> dict[str, Any]:
    """Two layers of 64 without early stopping, so that both sides of the comparison train every epoch."""
    return {
        "combiner": {"type": "concat", "num_fc_layers": 2, "output_size": 64, "dropout": 0.0},
        "trainer": {
            "epochs": epochs,
            "batch_size": 512,
            "eval_batch_size": 8192,
            "learning_rate": 0.001,
            "early_stop": -1,
        },
    }


def make_project(place: Workplace, name: str, tickers: Sequence[str], sessions: int, epochs: int) -> BenchProject:
    """Start a project with `mlops init`, and give it prices, one config for all tickers, and a scenario.

    Args:
        place: folder for the project.
        name: of the project folder.
        tickers: one model each; the prices of a ticker depend only on its position.
        sessions: rows per price file; the last `HELD_OUT` of them lie after the scenario's start.
        epochs: of the training.
    """
    root = place.folder / name
    place.run("mlops", "init", root, "--template", "blank")
    incoming = root / "data" / "incoming"
    days = None
    for seed, ticker in enumerate(tickers):
        table = random_prices(sessions, seed, start=FIRST_DAY)
        days = table.index
        table.set_axis(CSV_COLUMNS, axis=1).rename_axis("Date").to_csv(incoming / f"{ticker}.csv")
    assert days is not None
    start, last = days[-HELD_OUT].date(), days[-1].date()
    write_yaml(root / "simulation" / f"{SCENARIO}.yaml", {"start": start, "days": (last - start).days + 1})
    write_yaml(
        root / "params.yaml",
        {
            "seed": SEED,
            "branches": {BRANCH: {"collection": ["configs/bench"]}},
            "source": {"kind": "csv", "folder": "data/incoming"},
            "period": {"start": None, "end": None},
            "training": {"validation_sessions": 252, "min_sessions": 300, "shrinkage": "pooled"},
            "simulation": {"scenario": SCENARIO},
        },
    )
    config = {"team": TEAM, "tickers": list(tickers), "features": "standard", "ludwig": ludwig_part(epochs)}
    write_yaml(root / "configs" / "bench" / "models.yaml", config)
    return BenchProject(root, tuple(tickers))


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write a config file; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def ludwig_train(place: Workplace, inputs: Path, name: str) -> tuple[Measured, Path]:
    """Train one model with `ludwig train`, from the files of ludwig_inputs.py; its measurement and result folder."""
    out = place.folder / "ludwig-results" / name
    options = (
        "--config",
        inputs / f"{name}.yaml",
        "--dataset",
        inputs / f"{name}.csv",
        "--output_directory",
        out,
        "--random_seed",
        str(SEED),
        "--backend",
        "local",
    )
    return place.run("ludwig", "train", *options, memory=True), out
