"""The tools of the benchmark: child processes are measured, limited and ended; hand-written parts of the page stay."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.bench.bench_pipeline import DOCS, SECTIONS
from tests.bench.bench_processes import BenchError, Measured, clean_environment, measure
from tests.bench.bench_report import Row, Section, as_json, machine, print_table, write_docs

SLEEPER = "import time; time.sleep(600)"
WITH_CHILD = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]]);"
    "print(child.pid, flush=True); child.wait()"
)
Run = Callable[..., Measured]


@pytest.fixture
def python(tmp_path: Path) -> Run:
    def run(*arguments: str, seconds: float = 60, memory: bool = False) -> Measured:
        environment = clean_environment(Path(sys.executable).parent)
        command = [sys.executable, "-c", *arguments]
        log = tmp_path / "log"
        return measure(command, cwd=tmp_path, log=log, environment=environment, seconds=seconds, memory=memory)

    return run


def test_a_child_is_measured(python: Run) -> None:
    held = 300_000_000
    ours = python(f"held = bytearray(b'x') * {held}; sum(range(10**7)); print(len(held))", memory=True)
    assert ours.output.split() == [str(held)]
    assert ours.largest_bytes > held
    assert ours.cpu > 0
    assert ours.wall > 0


def test_memory_is_that_of_the_whole_tree(python: Run) -> None:
    holder = "held = bytearray(b'x') * 100_000_000; sum(range(3 * 10**7))"
    twice = f"import subprocess, sys; two = [subprocess.Popen([sys.executable, '-c', {holder!r}]) for _ in range(2)];"
    measured = python(twice + "[one.wait() for one in two]", memory=True)
    assert measured.tree_bytes > 200_000_000
    assert measured.largest_bytes < 200_000_000


def test_a_failing_child_is_reported_with_its_last_lines(python: Run) -> None:
    with pytest.raises(BenchError, match=r"(?s)ended with code 3.*the reason"):
        python("import sys; print('the reason'); sys.exit(3)")


def test_a_child_that_takes_too_long_is_ended_with_its_children(python: Run, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="took over 2 s"):
        python(WITH_CHILD, SLEEPER, seconds=2)
    assert not _running(int((tmp_path / "log").read_text()))


def test_an_interrupt_ends_the_child_and_its_children(python: Run, tmp_path: Path) -> None:
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.05):
            if (tmp_path / "log").is_file() and (tmp_path / "log").read_text().endswith("\n"):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            python(WITH_CHILD, SLEEPER)
    finally:
        over.set()
        watcher.join()
    assert not _running(int((tmp_path / "log").read_text()))


def test_settings_of_the_shell_do_not_reach_the_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_TRACKING", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    measured = clean_environment(Path("/b"), OMP_NUM_THREADS="2")
    assert measured["MLOPS_TRACKING"] == "off"
    assert "MLFLOW_TRACKING_URI" not in measured
    assert measured["OMP_NUM_THREADS"] == "2"
    assert measured["PATH"].startswith("/b:")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (0.01234, "0.0123 s"),
        (3.14159, "3.14 s"),
        (27.96, "28.0 s"),
        (1234.5, "1234 s"),
        (1.2e-8, "1.2e-08 s"),
    ],
)
def test_figures_are_shown_with_three_digits(value: float, text: str) -> None:
    assert Row("w", value, "s").cells()[1] == text


def test_a_row_says_whether_it_came_as_expected() -> None:
    assert Row("w", 1, "s", "<= 2 s", met=True).cells()[2] == "<= 2 s: met"
    assert Row("w", 3, "s", "<= 2 s", met=False).cells()[2] == "<= 2 s: missed"
    assert Row("w", 3, "s", ratio=12.34, ratio_of="faster").cells()[3] == "12.3 x faster"


def test_the_document_keeps_what_was_written_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d.md"
    path.write_text(
        "before\n<!-- bench:a -->\nold\n<!-- /bench:a -->\nafter\n<!-- bench:b -->\nkept\n<!-- /bench:b -->\n"
    )
    facts, section = machine(), Section("a", [Row("x | \\1", 1.5, "s")])
    for _ in range(2):
        write_docs(path, [section], facts)
    text = path.read_text()
    assert text.startswith("before\n<!-- bench:a -->")
    assert text.endswith("<!-- /bench:a -->\nafter\n<!-- bench:b -->\nkept\n<!-- /bench:b -->\n")
    assert text.count("| x \\| \\1 | 1.50 s |  |  |") == 1
    assert "old" not in text
    print_table([section], facts)
    assert "1.50 s" in capsys.readouterr().out
    assert as_json([section], facts, quick=False)["sections"]["a"]["rows"][0]["value"] == 1.5


def test_the_page_on_benchmarks_has_a_place_for_every_section(tmp_path: Path) -> None:
    path = tmp_path / "d.md"
    path.write_text(DOCS.read_text())
    write_docs(path, [Section(name, [Row(f"row of {name}", 1, "s")]) for name in SECTIONS], machine())
    assert [f"row of {name}" in path.read_text() for name in SECTIONS] == [True] * len(SECTIONS)


def test_a_document_without_markers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.md"
    path.write_text("nothing here\n")
    with pytest.raises(ValueError, match="bench:a"):
        write_docs(path, [Section("a")], machine())
    assert path.read_text() == "nothing here\n"


def _running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
