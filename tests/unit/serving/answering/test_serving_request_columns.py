"""Which columns a request's rows hold, and what a caller hears whose rows lack some."""

from __future__ import annotations

import numpy as np
import pytest

from mlops_cli.serving.answering.request_columns import columns_of
from mlops_cli.serving.contract.messages import BadInputError, Query, ServedVersion
from tests.fakes.served_catalogs import version

INPUTS = ("a", "b", "announced_dividend", "width_80", "width_95")
MODEL = version("1", inputs=INPUTS, levels=(80.0, 95.0))
OLD = version("0")


def asked(columns: int, model: ServedVersion = MODEL, interval: bool = False, rows: int = 3) -> tuple[str, ...]:
    return columns_of(Query("red-acme", np.zeros((rows, columns), np.float32), interval=interval), model)


def test_rows_have_all_inputs_or_all_but_the_widths() -> None:
    assert asked(5) == INPUTS
    assert asked(5, interval=True) == INPUTS
    assert asked(3) == INPUTS[:3]
    assert asked(2, OLD) == ("a", "b")


@pytest.mark.parametrize("columns", [2, 4])
def test_a_missing_dividend_is_named_with_where_it_comes_from(columns: int) -> None:
    with pytest.raises(BadInputError, match="lack the column announced_dividend") as refused:
        asked(columns)
    assert "mlops actions list --upcoming" in refused.value.hint
    assert "0 where none is announced" in refused.value.hint


def test_an_interval_without_widths_is_refused_with_their_names() -> None:
    with pytest.raises(BadInputError, match="needs the columns width_80, width_95"):
        asked(3, interval=True)


def test_an_interval_of_a_model_without_intervals_is_refused() -> None:
    with pytest.raises(BadInputError, match="red-acme has no output interval"):
        asked(2, OLD, interval=True)


@pytest.mark.parametrize(("columns", "rows"), [(1, 3), (6, 3), (5, 0), (3, 0), (0, 3)])
def test_other_shapes_are_refused_with_all_columns(columns: int, rows: int) -> None:
    with pytest.raises(BadInputError, match="the input has shape") as refused:
        asked(columns, rows=rows)
    assert "rows of 5 columns: a, b, announced_dividend" in refused.value.hint
    assert "width_80, width_95 only for the output interval" in refused.value.hint
