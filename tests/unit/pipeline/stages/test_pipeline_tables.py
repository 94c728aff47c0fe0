"""Tables on disk: written whole, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.pipeline.stages.tables import read_table, remove_other_tables, write_table
from tests.fakes.price_tables import random_prices


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = random_prices(30)
    write_table(tmp_path / "new", "AAA", table)
    read = read_table(tmp_path / "new", "AAA")
    pd.testing.assert_frame_equal(read, table, check_freq=False)
    pd.testing.assert_frame_equal(read, pd.read_parquet(tmp_path / "new" / "AAA.parquet"))


def test_some_columns_are_read_with_the_index(tmp_path: Path) -> None:
    table = random_prices(30)
    write_table(tmp_path, "AAA", table)
    pd.testing.assert_frame_equal(read_table(tmp_path, "AAA", ["close"]), table[["close"]], check_freq=False)
    assert list(read_table(tmp_path, "AAA", ["volume", "no such column"])) == ["volume"]


def test_writing_again_replaces_it_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_table(tmp_path, "AAA", random_prices(30))
    write_table(tmp_path, "AAA", random_prices(40, seed=1))
    assert len(read_table(tmp_path, "AAA")) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["AAA.parquet"]


def test_a_table_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    table = random_prices(30)
    write_table(tmp_path, "AAA", table)
    with pytest.raises((TypeError, ValueError, OSError)):
        write_table(tmp_path, "AAA", pd.DataFrame({"mixed": [1, "two", object()]}))
    assert len(read_table(tmp_path, "AAA")) == 30


def test_no_table_is_none(tmp_path: Path) -> None:
    assert read_table(tmp_path, "AAA") is None
    assert read_table(tmp_path / "absent", "AAA") is None


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 no more PAR1"])
def test_a_damaged_table_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "AAA.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"AAA\.parquet: damaged") as caught:
        read_table(tmp_path, "AAA")
    assert "remove" in caught.value.hint
    assert "mlops run" in caught.value.hint


def test_other_tables_are_removed_with_their_notes_and_nothing_else(tmp_path: Path) -> None:
    for name in ("AAA", "BBB", "C.C"):
        write_table(tmp_path, name, random_prices(30))
    for name in ("AAA", "BBB", "failures"):
        (tmp_path / f"{name}.json").write_text("{}")
    remove_other_tables(tmp_path, {"AAA", "C.C"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "AAA.json",
        "AAA.parquet",
        "C.C.parquet",
        "failures.json",
    ]
    remove_other_tables(tmp_path / "absent", set())
