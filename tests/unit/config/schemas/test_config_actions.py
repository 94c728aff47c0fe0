"""`source.actions` in params.yaml: defaults, and the paths that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from mlops_cli.config.schemas.source import Actions, Source


def test_by_default_the_prices_are_all() -> None:
    assert Source().actions == Actions(kind="auto", folder=Path("actions"), file=None)


@pytest.mark.parametrize("folder", ["/etc", "../actions", "a/../../b"])
def test_the_folder_stays_inside_that_of_the_prices(folder: str) -> None:
    with pytest.raises(ValidationError, match=r"a folder inside source\.folder"):
        Actions.model_validate({"folder": folder})


@pytest.mark.parametrize("file", ["all.parquet", "a/all.csv", "../all.csv", "all"])
def test_the_file_is_a_name_in_that_folder(file: str) -> None:
    with pytest.raises(ValidationError, match=r"a \.csv file in source\.actions\.folder"):
        Actions.model_validate({"file": file})


@pytest.mark.parametrize("value", [{"kind": "implied"}, {"kind": None}, {"kinds": "csv"}, {"folder": 3}])
def test_other_values_are_refused(value: dict) -> None:
    with pytest.raises(ValidationError):
        Source.model_validate({"actions": value})


def test_paths_are_taken() -> None:
    actions = Actions.model_validate({"kind": "csv", "folder": "paid/dividends", "file": "All.CSV"})
    assert (str(actions.folder), actions.file) == ("paid/dividends", "All.CSV")
