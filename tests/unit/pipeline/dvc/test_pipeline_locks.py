"""Dead processes do not hold DVC's lock; living ones keep it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from mlops_cli.pipeline.dvc.run import RWLOCK, release_dead_holders

PATIENCE_SECONDS = 20


@pytest.fixture
def zombie():
    """A process that has ended, of which nobody has taken notice."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "pass", "dvc"])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield process.pid
    process.wait()


@pytest.fixture
def living_dvc():
    """Any process with DVC's name among its words."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)", "dvc", "repro"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def someone_else():
    """A process that is no DVC."""
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def write(root: Path, content: str) -> Path:
    path = root / RWLOCK
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return path


def holder(pid: int) -> dict[str, int | str]:
    return {"pid": pid, "cmd": "dvc repro"}


def test_the_dead_and_those_with_a_used_number_let_go(
    tmp_path: Path, zombie: int, living_dvc: int, someone_else: int
) -> None:
    noted = {
        "write": {"/p/models": holder(zombie), "/p/data": holder(living_dvc), "/p/x": holder(someone_else)},
        "read": {"/p/configs": [holder(zombie), holder(living_dvc)], "/p/y": [holder(zombie)]},
    }
    path = write(tmp_path, json.dumps(noted))
    release_dead_holders(tmp_path)
    assert json.loads(path.read_text()) == {
        "write": {"/p/data": holder(living_dvc)},
        "read": {"/p/configs": [holder(living_dvc)]},
    }


def test_what_is_held_by_the_living_is_not_touched(tmp_path: Path, living_dvc: int) -> None:
    path = write(tmp_path, json.dumps({"write": {"/p": holder(living_dvc)}, "read": {}}))
    before = path.stat().st_mtime_ns
    release_dead_holders(tmp_path)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", ["", "{", '{"write": {"/p": {"pid": 7'])
def test_what_a_process_was_killed_over_while_it_wrote_is_removed(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, content)
    release_dead_holders(tmp_path)
    assert not path.exists()


def test_what_is_being_written_is_waited_for(tmp_path: Path, living_dvc: int) -> None:
    whole = json.dumps({"write": {"/p": holder(living_dvc)}, "read": {}})
    path = write(tmp_path, whole[:10])
    writer = threading.Timer(0.2, lambda: path.write_text(whole))
    writer.start()
    release_dead_holders(tmp_path)
    writer.join()
    assert path.read_text() == whole


@pytest.mark.parametrize("content", ['{"write": {"/p": {}}}', '{"write": [1]}'])
def test_a_damaged_file_is_left_to_dvc(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, content)
    release_dead_holders(tmp_path)
    assert path.read_text() == content


def test_none_is_fine(tmp_path: Path) -> None:
    release_dead_holders(tmp_path)
    assert not (tmp_path / RWLOCK).exists()
