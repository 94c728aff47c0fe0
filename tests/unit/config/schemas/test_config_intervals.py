"""The levels and the method of prediction intervals, and their mistakes in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlops_cli.config.load import load_branches, load_params
from mlops_cli.config.schemas.intervals import Intervals
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import make_project

MODEL = {"configs/a.yaml": "team: red\nticker: A\nfeatures: {returns: [1]}\n"}


def test_the_default_is_80_and_95_of_the_stock_alone() -> None:
    assert Intervals() == Intervals(levels=(80, 95), method="stock")


@pytest.mark.parametrize("levels", [(50,), (99.8,), (80, 90, 95, 99), (97.5, 99.5)])
def test_levels_that_are_taken(levels: tuple[float, ...]) -> None:
    assert Intervals.model_validate({"levels": list(levels)}).levels == levels


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"levels": [95, 80]}, "levels must rise"),
        ({"levels": [80, 80]}, "levels must rise"),
        ({"levels": []}, "at least 1"),
        ({"levels": [95, 95.0000001]}, "at most two decimals"),
        ({"levels": [50, 60, 70, 80, 90]}, "at most 4"),
        ({"levels": [49]}, "greater than or equal to 50"),
        ({"levels": [100]}, "less than or equal to 99.9"),
        ({"levels": [99.9]}, "use method: fleet"),
        ({"method": "pooled"}, "'stock' or 'fleet'"),
    ],
)
def test_mistakes(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Intervals.model_validate(values)


def test_a_fleet_has_enough_errors_for_the_highest_level() -> None:
    assert Intervals(levels=(99.9,), method="fleet").levels == (99.9,)


def test_a_branch_may_differ(tmp_path: Path) -> None:
    params = (
        "intervals: {levels: [90]}\n"
        "branches:\n"
        "  one: {collection: configs/a.yaml}\n"
        "  two: {collection: configs/a.yaml, intervals: {method: fleet}}\n"
    )
    project = make_project(tmp_path, params=params, files=MODEL)
    branches = load_branches(project, load_params(project))
    assert branches["one"].intervals == Intervals(levels=(90,))
    assert branches["two"].intervals == Intervals(levels=(90,), method="fleet")


def test_a_branchs_mistake_names_the_branch(tmp_path: Path) -> None:
    params = "branches: {one: {collection: configs/a.yaml, intervals: {levels: [95, 80]}}}\n"
    with pytest.raises(ConfigError, match=r"branches\.one\.intervals.*levels must rise"):
        load_params(make_project(tmp_path, params=params, files=MODEL))
