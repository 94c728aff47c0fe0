"""The real `mlops`, `dvc` and `git` processes in a project folder, and all of their children found and waited for."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import psutil

BIN = Path(sys.executable).parent
DAY_OF_SCENARIO = "2017-06-01"
MARKER = "MLOPS_TEST_TREE"
FOREIGN = ("MLOPS_", "MLFLOW_", "DVC_", "GIT_", "ALPACA_", "YAHOO_")
PATIENCE_SECONDS = 300


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a person who has installed mlops: nothing of this test run, no tracking unless asked for."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    names = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    own = {"PATH": f"{BIN}{os.pathsep}{clean.get('PATH', '')}", "MLOPS_TRACKING": "off", "DVC_NO_ANALYTICS": "1"}
    # as for cron and CI; DVC starts its stages with it, and where it is dash it stays between them
    shell = {"SHELL": "/bin/sh"}
    return {**clean, **names, **own, **shell, "GIT_CONFIG_GLOBAL": os.devnull, **(changes or {})}


@dataclass
class Tree:
    """A started command and every process below it, orphans included: they all carry one mark in their environment."""

    process: subprocess.Popen[str]
    mark: str

    def alive(self) -> list[psutil.Process]:
        """Those of its processes that still run, zombies not counted."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                running = process.status() != psutil.STATUS_ZOMBIE
                if running and process.environ().get(MARKER) == self.mark:
                    found.append(process)
        return found

    def find(self, *words: str) -> psutil.Process:
        """Wait for the process whose command line holds all `words`."""

        def seek() -> psutil.Process | None:
            for process in self.alive():
                with contextlib.suppress(psutil.Error):
                    line = process.cmdline()
                    # the shell between DVC and a stage has the stage's words in one argument
                    if "-c" not in line and all(word in line or word in map(_base, line) for word in words):
                        return process
            return None

        return self.until(seek, f"a process with {words}")

    def until[T](self, wanted: Callable[[], T | None], what: str) -> T:
        """Poll until `wanted` gives something; fail when the command ends before, or never does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = wanted()
            if found:
                return found
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} before {what}: {self.output()}")
            time.sleep(0.01)
        raise AssertionError(f"never saw {what}")

    def gone(self, within: float) -> None:
        """Wait until none of its processes runs any more."""
        deadline = time.monotonic() + within
        # a dead child counts as alive for its own until somebody asks for its exit code, as a shell does at once
        while (self.process.poll() is None) | bool(left := self.alive()):
            if time.monotonic() > deadline:
                lines = []
                for process in left:
                    with contextlib.suppress(psutil.Error):
                        lines.append(f"{process.pid} {process.cmdline()}")
                raise AssertionError(f"still alive after {within} s: {lines}")
            time.sleep(0.05)

    def output(self) -> tuple[str, str]:
        """Wait for the end; what it printed on stdout and stderr."""
        return self.process.communicate(timeout=PATIENCE_SECONDS)

    def clear(self) -> None:
        """Leave nothing behind, whatever the test found."""
        for process in self.alive():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.communicate(timeout=PATIENCE_SECONDS)


def _base(argument: str) -> str:
    return os.path.basename(argument)


@dataclass
class Cli:
    """A project folder and the commands run in it.

    Attributes:
        root: the folder.
        env: variables on top of `environment()`.
    """

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def mlops(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run([str(BIN / "mlops"), *arguments], **env)

    def dvc(self, *arguments: str) -> str:
        done = self.run([str(BIN / "dvc"), *arguments])
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def git(self, *arguments: str) -> str:
        done = self.run(["git", *arguments])
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, command: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env=self._environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def _environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        # else DVC keeps what it knows of a project in /var/tmp
        return environment({"DVC_SITE_CACHE_DIR": str(self.root.parent / ".dvc-site"), **self.env, **changes})

    def copy(self, root: Path) -> Cli:
        """The whole project, results and DVC's cache included, at another place."""
        shutil.copytree(self.root, root, symlinks=True)
        return Cli(root, self.env)

    @contextlib.contextmanager
    def start(self, *command: str, **env: str) -> Iterator[Tree]:
        """Start a command in a process group of its own, as a terminal does; all of it is gone afterwards."""
        mark = uuid4().hex
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.root,
            env=self._environment({MARKER: mark, **env}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        tree = Tree(process, mark)
        try:
            yield tree
        finally:
            tree.clear()

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def prices(self, ticker: str, table: pd.DataFrame) -> Path:
        """A csv in Yahoo's layout in data/incoming."""
        path = self.root / "data" / "incoming" / f"{ticker}.csv"
        columns = ["Open", "High", "Low", "Close", "Adj Close", "Volume"]
        table.set_axis(columns, axis=1).rename_axis("Date").to_csv(path)
        return path

    def json(self, name: str) -> Any:
        return json.loads((self.root / name).read_text())

    def models(self) -> dict[str, tuple[int, bytes, bytes]]:
        """By branch/model: inode of the folder's graph (a model trained again gets another), graph, manifest."""
        return {
            str(folder.relative_to(self.root / "models")): (
                (folder / "model.onnx").stat().st_ino,
                (folder / "model.onnx").read_bytes(),
                (folder / "manifest.json").read_bytes(),
            )
            for folder in sorted((self.root / "models").glob("*/*"))
            if (folder / "manifest.json").is_file()
        }

    def contents(self) -> dict[str, bytes]:
        """Every result file but what tells the time, by path."""
        homes = ("data/prices", "data/features", "models", "simulation/evaluation", "simulation/reports")
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for home in homes
            for path in (self.root / home).rglob("*")
            if path.is_file() and (home != "data/prices" or path.suffix != ".json" or path.name == "failures.json")
        }


def new_project(
    root: Path, tables: Mapping[str, pd.DataFrame], configs: Mapping[str, str], branches: Mapping[str, str]
) -> Cli:
    """A project made by `mlops init`, with prices in csv and a scenario that starts on `DAY_OF_SCENARIO`.

    Args:
        root: its folder.
        tables: price tables by ticker.
        configs: model files by path under configs/.
        branches: by name, the YAML of each in params.yaml.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    made = Cli(root.parent).mlops("init", str(root), "--template", "blank")
    assert made.returncode == 0, made.stderr
    cli = Cli(root)
    params = "\n".join(
        [
            "seed: 7",
            "branches:",
            *(f"  {name}: {text}" for name, text in branches.items()),
            "source: {kind: csv, folder: data/incoming}",
            "period: {start: null, end: null}",
            "training: {validation_sessions: 60, min_sessions: 200, shrinkage: pooled}",
            "intervals: {levels: [80, 95], method: stock}",
            "simulation: {scenario: mine}",
        ]
    )
    cli.write("params.yaml", params + "\n")
    cli.write("simulation/mine.yaml", f'start: "{DAY_OF_SCENARIO}"\ndays: 90\n')
    for ticker, table in tables.items():
        cli.prices(ticker, table)
    for name, text in configs.items():
        cli.write(f"configs/{name}", text)
    return cli


def kill(process: psutil.Process) -> None:
    """kill -9, and wait until it has worked."""
    process.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"{process} survives kill -9"
            time.sleep(0.01)


def interrupt(tree: Tree) -> None:
    """Ctrl-C: SIGINT to the whole process group."""
    os.killpg(tree.process.pid, signal.SIGINT)
