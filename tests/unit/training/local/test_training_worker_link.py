"""The connection to one training process: found by its note, asked, left, stopped. The processes are real and small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops_cli.errors import TrainingError
from mlops_cli.training.local.worker_link import StoppedError, WorkerLink

KEY = b"a key of sixteen"


class Partner:
    """The other end of a link, in a thread of this process, with the answers that a test gives it."""

    def __init__(self, folder: Path, answers: list[dict[str, Any] | bytes], silent: bool = False) -> None:
        self._silent = silent
        self.note = folder / "note.json"
        self.heard: list[str] = []
        self._answers = answers
        self._listener = Listener(("127.0.0.1", 0), authkey=KEY)
        me = psutil.Process()
        self.content = {
            "port": self._listener.address[1],
            "key": KEY.hex(),
            "pid": me.pid,
            "started": me.create_time(),
        }
        self.write()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def write(self, **changes: object) -> None:
        self.note.write_text(json.dumps({**self.content, **changes}))

    def _serve(self) -> None:
        with self._listener.accept() as connection, suppress(EOFError):
            self.heard.append(connection.recv_bytes().decode())
            for answer in self._answers:
                connection.send_bytes(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
            if self._silent:
                connection.recv_bytes()  # until the other end goes

    def end(self) -> None:
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_text("first\nsecond\n")
    return path


def ask(folder: Path, log: Path, answers: list[dict[str, Any] | bytes]) -> tuple[bool, list[dict[str, Any]], str]:
    partner = Partner(folder, answers)
    link = WorkerLink.find(partner.note, log)
    assert link is not None
    answered: list[dict[str, Any]] = []
    done = link.ask("the task", answered.append, lambda: True)
    link.leave()
    partner.end()
    return done, answered, partner.heard[0]


def test_answers_are_handed_on_until_it_is_done(tmp_path, log):
    answers = [{"doing": "a"}, {"result": {"folder": "x"}}, {"done": True}, {"doing": "too late"}]
    assert ask(tmp_path, log, answers) == (True, answers[:2], "the task")


@pytest.mark.parametrize("answers", [[], [{"doing": "a"}]])
def test_a_connection_that_ends_early_means_that_the_process_died(tmp_path, log, answers):
    assert ask(tmp_path, log, answers)[:2] == (False, answers)


def test_nobody_waits_once_the_answer_is_not_wanted(tmp_path, log):
    partner = Partner(tmp_path, [], silent=True)
    link = WorkerLink.find(partner.note, log)
    assert link is not None
    with pytest.raises(StoppedError):
        link.ask("the task", print, lambda: False)
    link.leave()
    partner.end()


@pytest.mark.parametrize(
    "content",
    ["", "no JSON", "[]", "{}", '{"pid": "x"}', '{"pid": 0.5}', f'{{"pid": {os.getpid()}}}', f'{{"pid": {2**22 + 1}}}'],
    ids=["empty", "no JSON", "a list", "nothing", "a word", "a fraction", "this process", "no process"],
)
def test_a_note_that_leads_nowhere_is_removed(tmp_path, log, content):
    note = tmp_path / "note.json"
    note.write_text(content)
    assert WorkerLink.find(note, log) is None
    assert not note.exists()


def test_no_note_is_no_process(tmp_path, log):
    assert WorkerLink.find(tmp_path / "note.json", log) is None


@pytest.mark.parametrize("change", [{"started": 0.0}, {"port": 1}, {"key": "xyz"}, {"key": None}])
def test_a_note_with_a_wrong_line_is_removed(tmp_path, log, change):
    me = psutil.Process()
    note = tmp_path / "note.json"
    note.write_text(json.dumps({"port": 1, "key": KEY.hex(), "pid": me.pid, "started": me.create_time(), **change}))
    assert WorkerLink.find(note, log) is None
    assert not note.exists()


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., WorkerLink]:
    def begin(body: str, wanted: Any = lambda: True) -> WorkerLink:
        command = [sys.executable, "-c", f"import os, sys, time\n{body}"]
        return WorkerLink.start(
            command, tmp_path / "notes" / "note", tmp_path / "logs" / "log", {"ASKED": "yes"}, wanted
        )

    return begin


def test_a_process_that_ends_before_it_is_ready_is_told_with_its_output(start, tmp_path):
    with pytest.raises(TrainingError, match=r"did not start: exit code 3; yes \| one \| two\n") as refusal:
        start("print(os.environ['ASKED'], 'one', 'two', sep='\\n', flush=True); os._exit(3)")
    assert str(tmp_path / "logs" / "log") in refusal.value.hint


def test_a_signal_is_told_as_such(start):
    with pytest.raises(TrainingError, match=r"did not start: signal 9\n"):
        start("os.kill(os.getpid(), 9)")


def test_an_address_that_leads_nowhere_ends_the_process(start, tmp_path):
    body = f"print(os.getpid(), flush=True); open({str(tmp_path / 'notes' / 'note')!r}, 'w').close(); time.sleep(60)"
    with pytest.raises(TrainingError, match="an address where nothing answers"):
        start(body)
    assert not psutil.pid_exists(int((tmp_path / "logs" / "log").read_text()))


def test_a_start_that_is_not_wanted_any_more_ends_the_process(start, tmp_path):
    log = tmp_path / "logs" / "log"

    def wanted() -> bool:
        return not (log.exists() and log.read_text().endswith("\n"))

    with pytest.raises(StoppedError):
        start("print(os.getpid(), flush=True); time.sleep(60)", wanted)
    assert not psutil.pid_exists(int(log.read_text()))


def test_stopping_a_process_that_another_one_started_ends_it(tmp_path, log):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    partner = Partner(tmp_path, [])
    partner.write(pid=child.pid, started=psutil.Process(child.pid).create_time())
    link = WorkerLink.find(partner.note, log)
    assert link is not None
    link.stop()
    partner.end()
    assert not psutil.pid_exists(child.pid) or child.wait(10) < 0
    child.wait(10)
    assert not partner.note.exists()


def test_the_last_words_of_a_process_that_another_one_started_are_the_end_of_its_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    partner = Partner(tmp_path, [])
    link = WorkerLink.find(partner.note, log)
    assert link is not None
    assert link.last_words() == "it is gone; " + " | ".join(f"line {number}" for number in range(95, 100))
    log.unlink()
    assert link.last_words() == "it is gone"
    link.leave()
    partner.end()
