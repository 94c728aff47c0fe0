"""The day of each row, as files write it."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.dates import read_dates
from mlops_cli.prices.sources.files.file_format import FileFormat

NEW_YORK, TOKYO = "America/New_York", "Asia/Tokyo"


def days(*cells: str, zone: str = NEW_YORK, times: list[str] | None = None, **said: str) -> list[str]:
    read = read_dates(pd.Series(cells, dtype=object), times, lambda: zone, FileFormat(**said), "F")
    assert read.tz is None
    return list(read.strftime("%Y-%m-%d"))


def refused(*cells: str, **rest) -> DataError:
    with pytest.raises(DataError) as raised:
        days(*cells, **rest)
    assert raised.value.hint
    return raised.value


@pytest.mark.parametrize(
    "cell",
    [
        "2024-03-31", "20240331", "2024/03/31", "2024.03.31", "2024-3-31", "31/03/2024", "03/31/2024", "31.03.2024",
        "31-03-2024", "3/31/24", "31-Mar-2024", "31-Mar-24", "31 March 2024", "Mar 31, 2024", "March 31 2024",
        "Sun, Mar 31, 2024", "31st Mar 2024", "31. März 2024", "2024-Mar-31", "31MAR2024", "31.03.2024 00:00",
        "2024-03-31 16:00", "2024-03-31 04:00 PM", "3/31/2024 4:00:00 PM", "20240331 000000", "20240331160000",
        "202403311600", "2024-03-31T00:00:00Z", "2024-03-31 00:00:00+09:00", "2024-03-31Z",
    ],
)  # fmt: skip
def test_one_day_in_many_ways(cell):
    assert days(cell, zone=NEW_YORK) == ["2024-03-31"]


def test_months_have_names():
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    assert days(*[f"05-{month}-2023" for month in months]) == [f"2023-{number:02}-05" for number in range(1, 13)]
    assert days("5 Mai 2023", "5. Oktober 2023", "5 Dez 2023", "5 Sept 2023")[1] == "2023-10-05"


@pytest.mark.parametrize(
    ("cell", "zone", "day"),
    [
        ("2024-03-12T00:30:00Z", NEW_YORK, "2024-03-11"),
        ("2024-03-11 15:00:00+00:00", TOKYO, "2024-03-12"),
        ("2024-03-11 23:30:00-05:00", TOKYO, "2024-03-12"),
        ("2024-03-11 16:00:00.5 UTC", NEW_YORK, "2024-03-11"),
        ("1710115200", NEW_YORK, "2024-03-11"),  # midnight in UTC labels the day
        ("1710115200000", TOKYO, "2024-03-11"),
        ("1710187200", NEW_YORK, "2024-03-11"),  # 16:00 in New York
        ("1710187200000", NEW_YORK, "2024-03-11"),
        ("1710187200000000", NEW_YORK, "2024-03-11"),
        ("1710187200000000000", NEW_YORK, "2024-03-11"),
        ("1710169200", TOKYO, "2024-03-12"),  # 15:00 in UTC: midnight in Tokyo
        ("1710187200.0", NEW_YORK, "2024-03-11"),
    ],
)
def test_moments_are_told_in_the_time_of_the_exchange(cell, zone, day):
    assert days(cell, zone=zone) == [day]


def test_unix_time_before_1970_and_around_it():
    assert days("-252460800", "0", "86400", "1710115200") == ["1962-01-01", "1970-01-01", "1970-01-02", "2024-03-11"]


@pytest.mark.parametrize(
    "cell",
    ["", "99 bottles", "2024-13-01", "2024-02-30", "31/31/2024", "45000", "240331", "12", "Foo 31, 2024", "null",
     "2024-03", "1e9", "March 2024", "20241301"],
)  # fmt: skip
def test_what_is_no_date(cell):
    error = refused("2024-03-11", cell)
    assert error.message == f"F: data row 2: {cell!r} is not a date"
    assert "source.dates" in error.hint
    assert "is not a date" in refused(cell).message


def test_two_notations_of_dates_are_refused():
    assert "data row 2: '12/03/2024'" in refused("2024-03-11", "12/03/2024").message
    assert "is not a date" in refused("31/03/2024", "03/31/2024").message


def test_a_day_above_12_decides_for_the_whole_file():
    assert days("04/03/2024", "13/03/2024") == ["2024-03-04", "2024-03-13"]
    assert days("03/04/2024", "03/13/2024") == ["2024-03-04", "2024-03-13"]


def test_rows_that_are_days_apart_by_one_reading_alone_decide():
    assert days(*[f"{day:02}/03/2024" for day in (4, 5, 6, 7, 8, 11)])[-1] == "2024-03-11"
    assert days(*[f"03/{day:02}/2024" for day in (4, 5, 6, 7, 8, 11)])[-1] == "2024-03-11"
    assert days(*[f"{day:02}.03.24" for day in (20, 21, 22, 25, 26, 27)])[-1] == "2024-03-27"
    assert days(*[f"24/03/{day:02}" for day in (20, 21, 22, 25, 26, 27)])[-1] == "2024-03-27"


def test_rows_appended_in_another_order_of_day_and_month_are_refused():
    american = [f"06/{day}/2024" for day in range(24, 29)]
    error = refused(*american, "01/07/2024", "02/07/2024", "03/07/2024")
    assert "'01/07/2024' is out of order; by another reading of it it is not" in error.message
    assert days(*american, "01/07/2024", dates="month-first")[-1] == "2024-01-07"


def test_a_file_appended_to_itself_is_no_mix_of_two_notations():
    cells = [f"{month:02}/{day:02}/2023" for month in (1, 2, 3) for day in range(1, 28)]
    assert days(*cells, *cells)[-1] == "2023-03-27"
    assert days(*cells, *cells[40:])[81] == "2023-02-14"


@pytest.mark.parametrize("cells", [["04/03/2024"], ["04/03/2024", "05/03/2024"], ["20.03.24", "21.03.24"]])
def test_few_rows_decide_nothing_and_the_setting_does(cells):
    error = refused(*cells)
    assert "day first or month first?" in error.message
    assert "source.dates: day-first" in error.hint
    assert days(*cells, dates="day-first")[0] in ("2024-03-04", "2024-03-20")


def test_the_setting_for_month_first():
    assert days("04/03/2024", dates="month-first") == ["2024-04-03"]
    assert "'31/03/2024' is not a date" in refused("31/03/2024", dates="month-first").message


@pytest.mark.parametrize(
    ("said", "cell"),
    [("%d %m %Y", "11 03 2024"), ("%y%m%d", "240311"), ("%Y-%j", "2024-071"), ("%m.%d.%Y", "03.11.2024")],
)
def test_a_format_of_the_users(said, cell):
    assert days(cell, dates=said) == ["2024-03-11"]
    assert "'2024-03-11' is not a date" in refused("2024-03-11", dates=said).message


def test_a_format_with_a_zone_gives_moments():
    assert days("12.03.2024 00:30 +0000", dates="%d.%m.%Y %H:%M %z") == ["2024-03-11"]


def test_times_without_a_zone_label_their_day():
    assert days("2024-03-11 15:00:00", "2024-03-12 15:00:00", zone=TOKYO) == ["2024-03-11", "2024-03-12"]


def test_the_zone_of_times_without_one_can_be_said():
    assert days("2024-03-11 15:00:00", zone=TOKYO, timezone="UTC") == ["2024-03-12"]
    assert days("2024-03-11", "2024-03-12", zone=TOKYO, timezone="UTC") == ["2024-03-11", "2024-03-12"]
    assert days("2024.03.11", zone=TOKYO, times=["15:00"], timezone="UTC") == ["2024-03-12"]
    assert days("20240311", zone=TOKYO, times=["150000"], timezone="UTC") == ["2024-03-12"]
    assert days("2024-03-11", zone=TOKYO, times=["15:00"]) == ["2024-03-11"]


def test_times_that_only_make_sense_in_utc_are_refused_with_the_setting():
    stamps = ["2022-10-13 15:00:00", "2022-10-16 15:00:00", "2022-10-17 15:00:00"]  # midnight in Tokyo; one is a Sunday
    error = refused(*stamps, zone=TOKYO)
    assert "2022-10-16 15:00:00 is on a weekend" in error.message
    assert error.hint == "if the times are UTC: source.timezone: UTC"
    assert days(*stamps, zone=TOKYO, timezone="UTC") == ["2022-10-14", "2022-10-17", "2022-10-18"]


def test_stamps_of_parquet_files():
    stamps = pd.Series(pd.to_datetime(["2022-10-13 15:00:00", "2022-10-16 15:00:00"]))

    def read(cells: pd.Series, **said: str) -> list[str]:
        return list(read_dates(cells, None, lambda: TOKYO, FileFormat(**said), "F").strftime("%F"))

    assert read(stamps, timezone="UTC") == ["2022-10-14", "2022-10-17"]
    assert read(stamps.dt.tz_localize("UTC")) == ["2022-10-14", "2022-10-17"]
    assert read(stamps.dt.normalize().dt.tz_localize("UTC")) == ["2022-10-13", "2022-10-16"]
    with pytest.raises(DataError, match="on a weekend"):
        read(stamps)
    with pytest.raises(DataError, match="data row 2"):
        read(pd.Series(pd.to_datetime(["2022-10-13", None])))


FORMATS = ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d-%b-%Y", "%B %d, %Y", "%a %d %b %Y", "%d-%m-%Y"]


@settings(max_examples=60)
@given(st.dates(pd.Timestamp("1961-01-02").date(), pd.Timestamp("2060-12-01").date()), st.sampled_from(FORMATS))
def test_thirty_days_in_a_row_are_read_as_they_were(first, written):
    index = pd.bdate_range(first, periods=30)
    assert days(*index.strftime(written)) == list(index.strftime("%Y-%m-%d"))


@pytest.mark.parametrize(
    "cell", ["1000-01-01", "0001-01-01", "9999-12-31", "99999999999999999999", "9223372036854775807"]
)
def test_days_that_no_exchange_knew_are_no_dates(cell):
    assert "is not a date" in refused(cell).message


@pytest.mark.parametrize("turned", [False, True])
def test_rows_that_are_weeks_away_only_by_the_reading_of_the_others_are_refused(turned):
    sessions = pd.bdate_range("2023-10-02", "2023-10-19")
    texts = [f"{day:%d/%m/%Y}" if day.day < 10 else f"{day:%m/%d/%Y}" for day in sessions]  # two files in one
    error = refused(*(texts[::-1] if turned else texts))
    assert "'09/10/2023' is weeks away from its neighbour" in error.message


def test_a_hole_of_weeks_is_no_other_notation():
    sessions = pd.bdate_range("2023-01-02", "2023-12-29")
    kept = sessions[(sessions < "2023-03-13") | (sessions > "2023-05-10")]
    assert days(*kept.strftime("%m/%d/%Y")) == list(kept.strftime("%Y-%m-%d"))
