"""How CUDA devices are counted and named, with small programs in place of the interpreter that has torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.training.local.cuda_devices import count_cuda_devices, no_cuda_device_error, visible_cuda_devices


@pytest.fixture
def driver(tmp_path: Path) -> tuple[Path, ...]:
    (tmp_path / "nvidiactl").touch()
    return (tmp_path / "missing", tmp_path / "nvidiactl")


def python(tmp_path: Path, body: str) -> str:
    """A program that is started in place of Python."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o700)
    return str(script)


def test_without_a_driver_no_process_is_started(tmp_path):
    script = python(tmp_path, f"touch {tmp_path}/started; echo 4")
    assert count_cuda_devices((tmp_path / "missing",), script) == 0
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("echo 2", 2),
        ("echo a warning; echo 3", 3),
        ("echo 0", 0),
        ("true", 0),
        ("echo 2; exit 1", 0),
        ("echo no torch here >&2; exit 1", 0),
        ("echo none", 0),
        ("echo -1", 0),
    ],
)
def test_the_last_word_of_a_process_that_ends_well_is_the_number(tmp_path, driver, body, count):
    assert count_cuda_devices(driver, python(tmp_path, body)) == count


def test_devices_are_numbered_unless_the_environment_names_them(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_cuda_devices(0) == ()
    assert visible_cuda_devices(3) == ("0", "1", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_cuda_devices(2) == ("0", "1")


@pytest.mark.parametrize(
    ("visible", "count", "names"),
    [
        ("3,1", 2, ("3", "1")),
        (" 3 , 1 ,", 2, ("3", "1")),
        ("3,1,7", 2, ("3", "1")),  # torch stops at the first name that it cannot use
        ("GPU-8f3a,MIG-1", 2, ("GPU-8f3a", "MIG-1")),
        ("3", 0, ()),
    ],
)
def test_devices_have_the_names_of_the_environment(monkeypatch, visible, count, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_cuda_devices(count) == names


def test_the_refusal_says_what_to_set():
    assert "training.device" in no_cuda_device_error().hint
