"""The file of sightings: what is written is read again, and damage is named with its line."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.prices.actions.dividends import Sighting
from mlops_cli.prices.actions.sightings_file import COLUMNS, dividends_file, read_sightings, write_sightings
from tests.fakes.dividend_prices import sighting

FULL = Sighting(
    ex_date=date(2024, 5, 10), amount=0.1, close_session=date(2024, 5, 1), close=170.33, source="alpaca",
    seen=date(2024, 5, 2), announced=date(2024, 5, 1), kind="special", estimated=True, currency="USD", taken=True,
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return dividends_file(tmp_path, "BRK.B")


def test_the_file_stands_beside_the_prices(path: Path) -> None:
    assert path.name == "BRK.B.dividends.csv"


def test_what_is_written_is_read_again_in_its_order(path: Path) -> None:
    sightings = [FULL, sighting("2024-03-07"), sighting("2024-02-07", 0.0)]
    write_sightings(path, sightings)
    assert read_sightings(path) == sightings


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_numbers_are_read_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, amount: float, close: float
) -> None:
    path = tmp_path_factory.mktemp("sightings") / "A.dividends.csv"
    write_sightings(path, [sighting("2024-03-07", amount, close=close)])
    (again,) = read_sightings(path) or []
    assert (again.amount, again.close) == (amount, close)


def test_no_file_means_unknown_and_an_empty_one_means_none(path: Path) -> None:
    assert read_sightings(path) is None
    write_sightings(path, [])
    assert read_sightings(path) == []


def damaged(path: Path, **cells: str) -> DataError:
    """The error about a file whose second sighting has these cells."""
    write_sightings(path, [FULL, FULL])
    lines = path.read_text().splitlines()
    values = dict(zip(COLUMNS, lines[2].split(","), strict=True)) | cells
    path.write_text("\n".join([*lines[:2], ",".join(values[name] for name in COLUMNS)]) + "\n")
    with pytest.raises(DataError) as error:
        read_sightings(path)
    return error.value


@pytest.mark.parametrize(
    "cells",
    [
        {"ex_date": "2024-13-01"}, {"ex_date": ""}, {"amount": "-0.1"}, {"amount": "nan"}, {"amount": "inf"},
        {"amount": "x"}, {"close": "0"}, {"close": "-1"}, {"kind": "stock"}, {"seen": ""}, {"announced": "soon"},
    ],
)  # fmt: skip
def test_damage_is_named_with_its_line(path: Path, cells: dict[str, str]) -> None:
    error = damaged(path, **cells)
    assert f"{path}:3: damaged" in error.message
    assert "dvc checkout" in error.hint


def test_an_announcement_after_the_day_of_seeing_is_refused(path: Path) -> None:
    error = damaged(path, announced="2024-05-03")
    assert error.message == f"{path}:3: announced on 2024-05-03, which is after it was seen on 2024-05-02"


def test_other_columns_are_refused(path: Path) -> None:
    path.write_text("ex_date,amount\n2024-05-10,1\n")
    with pytest.raises(DataError, match=r"BRK\.B\.dividends\.csv:1: not the columns"):
        read_sightings(path)


def test_a_file_that_is_no_text_is_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_sightings(path)


def test_a_short_line_is_refused(path: Path) -> None:
    write_sightings(path, [])
    path.write_text(path.read_text() + "2024-05-10,1\n")
    with pytest.raises(DataError, match="damaged"):
        read_sightings(path)
