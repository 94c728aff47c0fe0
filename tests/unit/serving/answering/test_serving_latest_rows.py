"""The newest row of each feature table: read when the file changes, and told why there is none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.serving.answering.latest_rows import LatestRow, LatestRows
from mlops_cli.serving.catalog.catalog import ModelKey

KEY = ModelKey("main", "red-a")
SESSIONS = pd.date_range("2024-01-01", periods=3, freq="B", name="session")


class Tables:
    """A project with feature tables."""

    def __init__(self, root: Path, executor: ThreadPoolExecutor) -> None:
        (root / "params.yaml").write_text("branches: {main: {collection: [configs]}}\n")
        self.project = Project.at(root)
        self.rows = LatestRows(self.project, executor)
        self.written = 0

    def write(self, name: str = "red-a", **columns: Any) -> Path:
        values: dict[str, Any] = {
            "a": [1.0, 2.0, 3.0],
            "b": [0.1, 0.2, 0.3],
            "last_close": [10.0, 11.0, 12.0],
            "target_session": SESSIONS + pd.offsets.BDay(),
        }
        path = self.project.features("main") / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({**values, **columns}, index=SESSIONS).to_parquet(path)
        self.written += 1
        os.utime(path, ns=(self.written, self.written))  # a time of its own, however coarse the clock is
        return path

    def get(self, *keys: ModelKey) -> dict[ModelKey, LatestRow | str]:
        return asyncio.run(self.rows.get(keys or (KEY,)))


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with ThreadPoolExecutor(2) as executor:
        yield Tables(tmp_path, executor)


def test_the_newest_row_with_its_sessions_and_close(tables: Tables) -> None:
    tables.write()
    row = tables.get()[KEY]
    assert isinstance(row, LatestRow)
    assert row.columns == ("a", "b", "last_close")
    np.testing.assert_allclose(row.values, [[3.0, 0.3, 12.0]], rtol=1e-6)
    assert (row.session, row.target_session, row.last_close) == (date(2024, 1, 3), date(2024, 1, 4), 12.0)
    assert (row.values.dtype, row.values.flags.c_contiguous) == (np.float32, True)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_column_without_a_float32_number_is_left_out(tables: Tables, value: float) -> None:
    tables.write(b=[0.0, 0.0, value])
    row = tables.get()[KEY]
    assert isinstance(row, LatestRow)
    assert row.columns == ("a", "last_close")


@pytest.mark.parametrize(
    "columns", [{"last_close": [1.0, 1.0, np.nan]}, {"target_session": [SESSIONS[1], SESSIONS[2], pd.NaT]}]
)
def test_a_row_without_a_close_or_a_target_is_no_row(tables: Tables, columns: Any) -> None:
    tables.write(**columns)
    assert tables.get()[KEY] == "red-a.parquet: the newest row has no close or no target session"


def test_missing_empty_and_damaged_tables_say_so(tables: Tables) -> None:
    assert tables.get()[KEY] == "no feature table main/red-a.parquet: run: mlops run"
    path = tables.write()
    pd.read_parquet(path).iloc[:0].to_parquet(path)
    assert "the feature table is empty" in str(tables.get()[KEY])
    path.write_bytes(path.read_bytes()[:200])
    assert "damaged" in str(tables.get()[KEY])
    pd.DataFrame({"x": [1]}).to_parquet(path)
    assert "damaged" in str(tables.get()[KEY])


def test_a_table_is_read_again_when_its_file_changes_and_only_then(tables: Tables) -> None:
    tables.write()
    before = tables.get()[KEY]
    assert tables.get()[KEY] is before
    tables.write(a=[1.0, 2.0, 4.0])
    after = tables.get()[KEY]
    assert isinstance(after, LatestRow)
    assert after.values[0, 0] == 4.0


def test_many_tables_each_get_their_own_row(tables: Tables) -> None:
    keys = [ModelKey("main", f"red-{number}") for number in range(40)]
    for number, key in enumerate(keys[:-1]):
        tables.write(key.name, a=[0.0, 0.0, float(number)])
    rows = tables.get(*keys, keys[0])
    assert list(rows) == keys
    values = [row.values[0, 0] for row in rows.values() if isinstance(row, LatestRow)]
    assert values == list(range(39))
    assert isinstance(rows[keys[-1]], str)


def test_nothing_asked_for_is_nothing_read(tables: Tables) -> None:
    assert asyncio.run(tables.rows.get(())) == {}
