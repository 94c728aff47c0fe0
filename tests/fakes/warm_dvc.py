"""The real dvc without its second of imports: one process imports it, and forks a fresh process for every command."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

PROGRAM = """
import json, os, sys
from dvc.cli import main
import dvc.repo, dvc.commands.repro, dvc.commands.status
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        for number, name in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
        code = main(order["words"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class WarmDvc:
    """Runs dvc commands; see the module."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, folder: Path, environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as home:
            out, err = Path(home) / "out", Path(home) / "err"
            order = {"folder": str(folder), "environment": dict(environment), "out": str(out), "err": str(err)}
            self._process.stdin.write(json.dumps({**order, "words": words}) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(["dvc", *words], code, out.read_text(), err.read_text())


@contextlib.contextmanager
def warm_dvc() -> Iterator[WarmDvc]:
    """Start the process; it ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield WarmDvc(process)  # leaving closes its stdin, and that ends it
