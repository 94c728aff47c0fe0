"""The real `mlops exchange serve`, as a process of its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.cli import BIN, environment

PATIENCE_SECONDS = 60


@contextmanager
def exchange_process(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command in a folder on a free port; gives its process and the address that it prints."""
    command = [str(BIN / "mlops"), "exchange", "serve", "--port", "0", *options]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        address = re.fullmatch(r"ALPACA_BASE_URL=(http://127\.0\.0\.1:\d+)\nALPACA_DATA_URL=\1\n", "".join(lines))
        assert address, (lines, process.poll(), process.stderr.read() if process.stderr else "")
        yield process, address[1]
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)
