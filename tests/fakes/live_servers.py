"""Small projects with trained models, and the real `mlops serve` over them on a free port of this machine."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd

from tests.fakes.cli import Cli, Tree
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.projects import SmallProject, small_project

_ADDRESS = re.compile(r"serving on http://(\S+)")


def trained_project(root: Path, prices: Mapping[str, pd.DataFrame] | None = None) -> SmallProject:
    """Three stocks, a linear model and a naive one of each, judged and simulated; `prices` replace a ticker's."""
    made = small_project(root)
    for ticker, table in (prices or {}).items():
        made.prices(ticker, table)
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("min_sessions: 200", "min_sessions: 200, shrinkage: 0.5"))
    made.config("naive", "team: dull\ntickers: [AAA, BBB, CCC]\ntrainer: naive\nfeatures: {returns: [1]}\n")
    for report in made.run(LinearTrainer()):
        assert not report.failures
    assert not made.simulate()[1].failures
    return made


@dataclass
class Live:
    """A server that answers.

    Attributes:
        host: and port, as tritonclient takes them.
        tree: its processes.
        said: lines it has printed on stderr.
    """

    host: str
    tree: Tree
    said: list[str]

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://{self.host}", timeout=30)


@contextlib.contextmanager
def live(root: Path, *options: str, **env: str) -> Iterator[Live]:
    """`mlops serve` in a project's folder, from its first answer until the block ends."""
    with Cli(root).start("mlops", "serve", "--port", "0", *options, **env) as tree:
        said: list[str] = []
        there = threading.Event()

        def listen() -> None:
            assert tree.process.stderr is not None
            for line in tree.process.stderr:
                said.append(line)
                if _ADDRESS.search(line):
                    there.set()
            there.set()

        # to the end: a full pipe would stop the server
        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        assert there.wait(60), said
        found = _ADDRESS.search("".join(said))
        assert found, said
        yield Live(found.group(1), tree, said)
        tree.process.terminate()
        tree.process.wait(30)
        listener.join(30)
