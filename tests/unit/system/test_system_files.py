"""Files written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlops_cli.system.files import PART, create_private, others_may_read, write_text, write_whole


def test_a_new_file_and_its_folder_are_made(tmp_path: Path):
    path = write_text(tmp_path / "a" / "b" / "note.json", "{}\n")
    assert path.read_text() == "{}\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["note.json"]


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from mlops_cli.system.files import write_text\n"
        "write_text(Path(sys.argv[1]), chr(233))"
    )
    command = [sys.executable, "-X", "utf8=0", "-c", program, str(tmp_path / "file")]
    subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C"})
    assert (tmp_path / "file").read_bytes() == "é".encode()


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path):
    path = write_text(tmp_path / "table", "old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_before_anything_is_written_is_the_one_that_is_told(tmp_path: Path):
    def fail(_: Path) -> None:
        raise ValueError("nothing to write")

    with pytest.raises(ValueError, match="nothing to write"):
        write_whole(tmp_path / "table", fail)
    assert list(tmp_path.iterdir()) == []


def test_permissions_of_the_old_file_stay(tmp_path: Path):
    path = write_text(tmp_path / "params.yaml", "a: 1\n")
    path.chmod(0o640)
    write_text(path, "a: 2\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("a: 2\n", 0o640)


def test_a_secret_is_never_readable_by_others(tmp_path: Path):
    seen: list[int] = []

    def write(part: Path) -> None:
        seen.append(part.stat().st_mode & 0o777)
        part.write_text("key")

    path = write_whole(tmp_path / "note", write, mode=0o600)
    assert seen == [0o600]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_in_the_place_of_the_file_is_an_error(tmp_path: Path):
    (tmp_path / "note").mkdir()
    with pytest.raises(OSError, match="note"):
        write_text(tmp_path / "note", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["note"]


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path):
    path = tmp_path / "file"
    texts = [str(number) * 200_000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path):
    path = write_text(tmp_path / "file", "old")
    program = (
        "import os, sys; from pathlib import Path; from mlops_cli.system.files import write_whole\n"
        "def half(part):\n    part.write_text('half'); os.kill(os.getpid(), 9)\n"
        "write_whole(Path(sys.argv[1]), half)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert path.read_text() == "old"
    (left,) = [entry for entry in tmp_path.iterdir() if entry != path]
    assert left.name.startswith(".file.")
    assert left.suffix == PART


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path):
    path = write_text(tmp_path / "a.yaml", "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_the_owner_s_alone(tmp_path: Path):
    before = os.umask(0o000)
    try:
        create_private(tmp_path / "new" / "red.db")
    finally:
        os.umask(before)
    path = tmp_path / "new" / "red.db"
    assert (path.stat().st_mode & 0o777, path.read_bytes(), others_may_read(path)) == (0o600, b"", False)


def test_a_file_that_exists_stays_as_it_is(tmp_path: Path):
    path = tmp_path / "red.db"
    path.write_text("kept")
    path.chmod(0o644)
    create_private(path)
    assert (path.read_text(), others_may_read(path)) == ("kept", True)


@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o400, False), (0o711, False), (0o640, True)])
def test_who_may_read(tmp_path: Path, mode: int, exposed: bool):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    assert others_may_read(path) == exposed
    assert not others_may_read(tmp_path / "none")
