"""Which mark is the decimal mark: what proves it, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.notation import COMMA, NULLS, POINT, read_numbers
from mlops_cli.prices.sources.files.table import Table

DAYS = pd.date_range("2024-03-11", periods=40, freq="D")


def numbers(
    columns: dict[str, list[str]], decimal: str | None = None, separator: str = ",", dates: str = "%Y-%m-%d",
    other: tuple[list[str], ...] = (),
) -> dict[str, np.ndarray]:  # fmt: skip
    count = len(next(iter(columns.values())))
    written = pd.Series(DAYS[:count].strftime(dates), dtype=object)
    return read_numbers(Table(written, None, columns, other, (), separator), DAYS[:count], decimal, "F")


def closes(*cells: str, **rest) -> list[float]:
    return numbers({"close": list(cells)}, **rest)["close"].tolist()


def refused(columns: dict[str, list[str]], **rest) -> DataError:
    with pytest.raises(DataError) as raised:
        numbers(columns, **rest)
    return raised.value


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["11.924", "11.9"], [11.924, 11.9]),  # not three digits
        (["11,924", "11,9"], [11.924, 11.9]),
        (["11,924", "0,924"], [11.924, 0.924]),  # no thousand begins with 0
        (["11.924", "1911.924"], [11.924, 1911.924]),  # four digits without a mark between them
        (["11,924", "1911,924"], [11.924, 1911.924]),
        (["11.924", "1,911.924"], [11.924, 1911.924]),  # both marks in one cell
        (["11,924", "1.911,924"], [11.924, 1911.924]),
        (["11,924", "1,911,924"], [11924.0, 1_911_924.0]),  # two thousands marks
        (["11.924", "1.911.924"], [11924.0, 1_911_924.0]),
        (["11,924", "1 911,924"], [11.924, 1911.924]),  # a space is never a decimal mark
        (["11.924", "1'911.924"], [11.924, 1911.924]),
        (["11,924", "12,34,567"], [11924.0, 1_234_567.0]),  # Indian
        (["11", "1911"], [11.0, 1911.0]),
        (["1,192E+01", "1,5"], [11.92, 1.5]),
    ],
)
def test_one_cell_decides_for_the_whole_file(cells, values):
    assert closes(*cells) == pytest.approx(values, rel=1e-12)


@pytest.mark.parametrize("cells", [["11,924", "38,197"], ["11.924", "38.197"], ["11.924", "38"], ["11,924", "-"]])
def test_if_nothing_decides_the_file_is_refused_with_the_cell_and_the_setting(cells):
    error = refused({"close": cells})
    assert error.message.startswith(f"F:2024-03-11: close {cells[0]!r}: is {cells[0][2]!r} the decimal mark")
    assert error.hint.startswith(f'say which mark is the decimal mark: source.decimal: "{cells[0][2]}"')


@pytest.mark.parametrize("mark", [".", ","])
def test_the_user_decides(mark):
    assert closes(f"11{mark}924", f"38{mark}197", decimal=mark) == [11.924, 38.197]
    assert closes(f"11{mark}924", f"38{mark}197", decimal="," if mark == "." else ".") == [11_924.0, 38_197.0]


def test_what_contradicts_the_users_mark_is_refused():
    assert "close '11.92' is not a number with source.decimal ','" in refused({"close": ["11.92"]}, decimal=",").message


def test_semicolons_and_dotted_dates_say_that_the_comma_is_the_decimal_mark():
    german = {"separator": ";", "dates": "%d.%m.%Y"}
    assert closes("11,924", "38,197", **german) == [11.924, 38.197]
    assert "'38.197'" in refused({"close": ["38.197", "11.924"]}, **german).message  # thousands, or a Swiss point
    assert "'38.197'" in refused({"close": ["38.197"], "volume": ["11,924"]}, **german).message
    for half in ({"separator": ";"}, {"dates": "%d.%m.%Y"}):
        assert "'11,924'" in refused({"close": ["11,924", "38,197"]}, **half).message


def test_columns_that_are_not_kept_may_decide():
    assert closes("11,924", "38,197", other=(["0,10%", "-1,25%"],)) == [11.924, 38.197]
    assert closes("11,924", "38,197", other=(["0.10%", "-1.25%"],)) == [11_924.0, 38_197.0]
    assert closes("11.924", "38.197", other=(["11.92", "38.2"],)) == [11.924, 38.197]
    assert "'11,924'" in refused({"close": ["11,924"]}, other=(["0,10%"], ["0.10%"])).message  # they disagree
    assert "'11,924'" in refused({"close": ["11,924"]}, other=(["up 0,10%"],)).message


def test_another_column_of_prices_decides():
    read = numbers({"close": ["38.197"], "adj_close": ["37.5"], "volume": ["1,234,567"]})
    assert [column[0] for column in read.values()] == [38.197, 37.5, 1_234_567]
    assert numbers({"close": ["38,197"], "dividends": ["0,24"]})["close"] == [38.197]


@pytest.mark.parametrize(("closing", "volume"), [("12.020", "1,39M"), ("12,020", "1.39M"), ("38,197", "1,234,567")])
def test_volumes_do_not_decide_about_prices(closing, volume):
    assert f"close {closing!r}" in refused({"close": [closing], "volume": [volume]}).message


def test_volumes_decide_about_themselves_where_prices_are_whole():
    assert numbers({"close": ["38"], "volume": ["1,234,567"]})["volume"] == [1_234_567]


def test_volumes_that_contradict_separator_and_dates_are_refused():
    german = {"separator": ";", "dates": "%d.%m.%Y"}
    assert numbers({"close": ["11,924"], "volume": ["1.234.567"]}, **german)["close"] == [11.924]
    assert "close '11,924'" in refused({"close": ["11,924"], "volume": ["1,234,567"]}, **german).message


@pytest.mark.parametrize("closing", ["100.11", "100,11"])
def test_volumes_that_have_three_digits_behind_the_decimal_mark_of_the_prices_are_refused(closing):
    volumes = [f"938{closing[3]}197", f"12{closing[3]}500", "950", "0", ""]
    error = refused({"close": [closing] * 5, "volume": volumes})
    assert f"volume {volumes[0]!r}" in error.message
    assert "source.decimal" in error.hint
    as_said = numbers({"close": [closing] * 5, "volume": volumes}, decimal=closing[3])
    assert as_said["volume"][0] == 938.197


@pytest.mark.parametrize(("closing", "volume"), [("100,11", "938.197"), ("100.11", "938,197"), ("100,11", "938 197")])
def test_volumes_with_the_thousands_mark_of_the_prices_notation_are_read(closing, volume):
    assert numbers({"close": [closing], "volume": [volume]})["volume"] == [938_197]


def test_fractions_of_shares_are_read_where_not_all_have_three_digits():
    assert numbers({"close": ["100.11"] * 2, "volume": ["938.197", "12.5"]})["volume"].tolist() == [938.197, 12.5]


def test_a_column_of_which_some_thousands_have_marks_is_refused():
    assert "volume '229,991'" in refused({"close": ["1.5"] * 2, "volume": ["1556710", "229,991"]}).message
    read = numbers({"close": ["1.5"] * 3, "volume": ["1556710", "229,991", "1,229,991"]})  # the last proves the mark
    assert read["volume"].tolist() == [1_556_710, 229_991, 1_229_991]


def test_two_notations_in_one_file_are_refused():
    error = refused({"close": ["100.11", "100.12", "100,13"], "open": ["1.5"] * 3})
    assert error.message == "F:2024-03-13: close '100,13' is not a number with a decimal point, as the other cells have"


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1.52M", 1_520_000), ("1.52 m", 1_520_000), ("952.4K", 952_400), ("1.2bn", 1_200_000_000), ("3", 3),
        ("1.52 Mio.", 1_520_000), ("1.5Cr", 15_000_000), ("2.5 Tsd", 2_500), ("0.07T", 70_000_000_000),
    ],
)  # fmt: skip
def test_volumes_with_suffixes(cell, value):
    assert numbers({"volume": [cell, "1.5"]})["volume"][0] == value


@pytest.mark.parametrize("cell", ["1.52M", "5%", "1.5X", "1.5.2", "12:30", "(5)", "1 5", "1'2", "1,2,3", "0x10", "1_0"])
def test_what_is_no_price(cell):
    assert f"close {cell!r} is not a number" in refused({"close": ["1.25", cell]}).message


@pytest.mark.parametrize(
    "cell", ["$1.5", "1.5 USD", "-1.5", "+1.5", "\u22121.5", "US$ 1.5", "-$1.5", "€ -1.5", "1.5E0"]
)
def test_signs_and_currencies(cell):
    assert abs(closes(cell, "1.25")[0]) == 1.5
    assert (closes(cell, "1.25")[0] < 0) == any(minus in cell for minus in "-\u2212")


def test_prices_in_two_currencies_are_refused():
    assert refused({"close": ["$1.5", "€1.5"]}).message == "F: close is in $ and in €"


@pytest.mark.parametrize("word", [*sorted(NULLS), "NULL", "NaN", "N/D", "#N/A Field Not Applicable"])
def test_words_for_null(word):
    assert np.isnan(closes(word, "1.25")[0])


def test_infinite_numbers_are_left_to_the_cleaning_rules():
    assert closes("inf", "-Infinity", "1.5") == [np.inf, -np.inf, 1.5]


@given(
    st.lists(st.decimals(0, 10**7, places=2), min_size=1, max_size=40),
    st.sampled_from([POINT, COMMA]),
    st.sampled_from(["", "own", " ", "'", "\u00a0", "\u202f"]),
)
def test_what_is_written_in_one_notation_is_read_as_it_was(values, notation, mark):
    mark = notation.thousands if mark == "own" else mark
    cells = [f"{value:,.2f}".replace(",", "x").replace(".", notation.decimal).replace("x", mark) for value in values]
    assert closes(*cells) == [float(value) for value in values]
