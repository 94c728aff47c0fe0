"""Temporary folders: removed at the end, and by the next process where one was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mlops_cli.system.scratch_folders import scratch_folder

HOLD = """
import sys, time
from mlops_cli.system.scratch_folders import scratch_folder
with scratch_folder("mlops-test-") as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def older(folder: Path) -> None:
    os.utime(folder, (time.time() - 60, time.time() - 60))


def test_a_folder_is_gone_at_the_end(place: Path) -> None:
    with scratch_folder("mlops-test-") as folder:
        (folder / "file").touch()
        assert folder.parent == place
    assert list(place.iterdir()) == []


def test_only_folders_of_killed_processes_are_removed(place: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        killed = Path(process.stdout.readline().strip())
        (killed / "file").touch()
        others = [place / "mlops-test-not-ours", place / "mlops-other-1"]
        for folder in others:
            folder.mkdir()
        older(killed)
        with scratch_folder("mlops-test-"):
            assert killed.is_dir(), "its process runs"
        process.kill()
        process.wait()
        with scratch_folder("mlops-test-"):
            assert not killed.exists()
            assert all(folder.is_dir() for folder in others), "nothing says that these are left over"


def test_a_folder_that_was_just_made_is_left_alone(place: Path) -> None:
    young = place / "mlops-test-young"
    young.mkdir()
    (young / ".in-use").touch()
    with scratch_folder("mlops-test-"):
        assert young.is_dir()
    older(young)
    with scratch_folder("mlops-test-"):
        assert not young.exists()


def test_a_folder_elsewhere_is_made_there_and_cleared_there(place: Path) -> None:
    other = place / "other"
    other.mkdir()
    left = other / "mlops-test-left"
    left.mkdir()
    (left / ".in-use").touch()
    older(left)
    with scratch_folder("mlops-test-", other) as folder:
        assert folder.parent == other
        assert not left.exists()
    assert list(other.iterdir()) == []
