"""Price and feature tables as parquet files, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow.parquet

from mlops_cli.errors import DataError
from mlops_cli.system.files import write_whole


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write `<name>.parquet`, whole or not at all."""
    write_whole(folder / f"{name}.parquet", table.to_parquet)


def copy_table(folder: Path, source: str, name: str) -> None:
    """Write `<name>.parquet` as a copy of `<source>.parquet`, whole or not at all."""
    write_whole(folder / f"{name}.parquet", partial(shutil.copyfile, folder / f"{source}.parquet"))


def read_table(folder: Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame | None:
    """Read `<name>.parquet`; None where there is none.

    Args:
        folder: of the table.
        name: of the table.
        columns: to read beside the index, as far as the table has them; None: all.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / f"{name}.parquet"
    try:
        # without threads: a table takes 2 ms, less than pd.read_parquet spends on them, and `each` uses all cores
        with pyarrow.parquet.ParquetFile(path) as file:
            content = file.read(None if columns is None else list(columns), use_threads=False, use_pandas_metadata=True)
            table: pd.DataFrame = content.to_pandas(use_threads=False)
            return table
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DataError(f"{path}: damaged: {error}", f"remove {path} and run again: mlops run") from error


def table_columns(folder: Path, name: str) -> list[str] | None:
    """The columns of `<name>.parquet`, without reading its rows; None where there is none.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / f"{name}.parquet"
    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged: {error}", f"remove {path} and run again: mlops run") from error


def remove_other_tables(folder: Path, names: Collection[str]) -> None:
    """Remove the tables in `folder`, and their notes, whose name is not among `names`."""
    for path in folder.glob("*.parquet"):
        if path.stem not in names:
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)
