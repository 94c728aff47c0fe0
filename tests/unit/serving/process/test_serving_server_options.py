"""What the server prints, and the files by which its workers report."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mlops_cli.serving.process.server_options import ServeOptions, failure_note, greeting, ready_mark


def options(host: str, port: int = 0) -> ServeOptions:
    return ServeOptions(root=".", models=None, host=host, port=port, workers=1, authenticated=False)


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]"), ("::", "[::]")]
)
def test_the_greeting_names_the_port_that_was_free(host: str, shown: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert greeting(options(host), listener) == f"serving on http://{shown}:{port} - try /forecasts or /docs"


def test_each_worker_has_files_of_its_own(tmp_path: Path) -> None:
    paths = {make(tmp_path, worker) for make in (ready_mark, failure_note) for worker in range(3)}
    assert len(paths) == 6
    assert {path.parent for path in paths} == {tmp_path}
