"""Price tables of the exchange: files by symbol, and which file counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlops_cli.errors import DataError
from mlops_cli.exchange.market.price_tables import MemoryTables, ParquetTables
from tests.fakes.small_exchange import table


def write(folder: Path, name: str, *, rows: int = 5, at: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    table()[:rows].to_parquet(path)
    os.utime(path, (at, at))
    return path


def test_files_are_found_by_symbol(tmp_path: Path) -> None:
    write(tmp_path, "BRK-B.parquet")
    write(tmp_path, "aapl.parquet")
    write(tmp_path, ".hidden.parquet")
    (tmp_path / "notes.txt").write_text("no table")
    tables = ParquetTables([tmp_path])
    assert tables.symbols == {"BRK.B", "AAPL"}
    assert len(tables.table("BRK.B")) == 5


@pytest.mark.parametrize("first_is_newer", [True, False])
def test_the_newer_of_two_files_counts(tmp_path: Path, first_is_newer: bool) -> None:
    write(tmp_path / "a", "AAA.parquet", rows=2, at=5 if first_is_newer else 1)
    write(tmp_path / "b", "AAA.parquet", rows=3, at=3)
    assert len(ParquetTables([tmp_path / "a", tmp_path / "b"]).table("AAA")) == (2 if first_is_newer else 3)


def test_the_version_changes_with_the_file(tmp_path: Path) -> None:
    write(tmp_path, "AAA.parquet", at=10)
    tables = ParquetTables([tmp_path])
    assert tables.version("AAA") == 10
    write(tmp_path, "AAA.parquet", at=11)
    assert tables.version("AAA") == 11


def test_a_file_that_was_removed_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "AAA.parquet")
    tables = ParquetTables([tmp_path])
    path.unlink()
    with pytest.raises(DataError, match=r"AAA\.parquet: No such file"):
        tables.version("AAA")
    with pytest.raises(DataError, match=r"AAA\.parquet: damaged.*\n.*mlops ingest"):
        tables.table("AAA")


def test_unknown_symbols_and_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "BAD.parquet").write_bytes(b"nothing of the kind")
    table().drop(columns="volume").to_parquet(tmp_path / "PART.parquet")
    tables = ParquetTables([tmp_path])
    with pytest.raises(DataError, match="NOPE: there is no price table"):
        tables.table("NOPE")
    with pytest.raises(DataError, match=r"BAD\.parquet: damaged"):
        tables.table("BAD")
    with pytest.raises(DataError, match="PART"):
        tables.table("PART")


def test_no_folder_has_no_symbols(tmp_path: Path) -> None:
    assert ParquetTables([]).symbols == ParquetTables([tmp_path / "missing"]).symbols == set()


def test_tables_in_memory() -> None:
    prices = table()
    tables = MemoryTables({"BRK-B": prices, "AAA": table()})
    assert tables.symbols == {"BRK.B", "AAA"}
    assert tables.table("BRK.B") is prices
    assert tables.version("AAA") == tables.version("BRK.B")
