"""What may be opened as a price file, and how much of it is read."""

from __future__ import annotations

import os
import threading

import pytest

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.prices.sources.files.content import LONGEST_CELL, MOST_COLUMNS, MOST_ROWS, Content
from mlops_cli.prices.sources.files.reader import column_titles, read_bars
from mlops_cli.prices.sources.files.text_lines import LONGEST_LINE, MOST_LINES
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure

HEADER = b"Date,Open,High,Low,Close,Volume\n"
ROW = b"2024-03-11,10,11,9,10.5,1000\n"


def fetched(folder, ticker="AAA"):
    [answer] = CsvSource(folder).fetch(FetchRequest([ticker]), lambda line: None)
    return answer


def refused(body: bytes) -> str:
    with pytest.raises(DataError) as raised:
        read_bars(Content.of_bytes(body), "AAA", lambda: "UTC")
    assert raised.value.hint
    return raised.value.message


@pytest.mark.timeout(20)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path, suffix):
    os.mkfifo(tmp_path / f"AAA.{suffix}")
    answers = []
    reading = threading.Thread(target=lambda: answers.append(fetched(tmp_path)), daemon=True)
    reading.start()
    reading.join(10)
    assert isinstance(answers[0], SourceFailure)
    assert "not a regular file" in answers[0].reason
    assert answers[0].exit_code == DataError.exit_code


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_endless_device_behind_a_link_is_refused(tmp_path, device, suffix):
    (tmp_path / f"AAA.{suffix}").symlink_to(device)
    answer = fetched(tmp_path)
    assert isinstance(answer, SourceFailure)
    assert "not a regular file" in answer.reason


def test_a_folder_is_refused_and_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "AAA.csv").mkdir()
    assert "not a regular file" in fetched(tmp_path).reason
    (tmp_path / "elsewhere").write_bytes(HEADER + ROW)
    (tmp_path / "BBB.csv").symlink_to(tmp_path / "elsewhere")
    assert isinstance(fetched(tmp_path, "BBB"), RawBars)


def test_a_link_to_nothing_is_refused(tmp_path):
    (tmp_path / "AAA.csv").symlink_to(tmp_path / "gone")
    assert "cannot be read: No such file" in fetched(tmp_path).reason


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (HEADER.strip() + b",x" * 300_000 + b"\n" + ROW, "has 300,006 cells, and 10,000 columns are read"),
        (HEADER.strip() + b",column" * 300_000 + b"\n" + ROW, f"line 1 has more than {LONGEST_LINE:,} characters"),
        (HEADER + b"," * (MOST_COLUMNS + 1), "cells, and 10,000 columns are read"),
        (HEADER + ROW * (MOST_ROWS + 1), "more than 100,000 rows for one ticker"),
        (HEADER + b"\n" * MOST_LINES + ROW, "more than 500,000 lines"),
        (HEADER + ROW + b"note\n" * 101, "line 3: 'note' is not a row of prices"),
        (HEADER + b"2024-03-11," + b"1" * (LONGEST_CELL + 1) + b",1,1,1,1\n", "a cell of 101 characters is neither"),
        (HEADER + b"2" * 1000 + b",1,1,1,1,1\n", "a cell of 1,000 characters is neither"),
        (HEADER + b'2024-03-11,"' + b"1" * 200_000 + b'",1,1,1,1\n', "field larger than field limit"),
        (bytes(100), "not a readable text file"),
    ],
)
def test_bodies_beyond_the_bounds_are_refused_before_they_are_converted(body, said):
    assert said in refused(body)


def test_the_titles_of_a_wide_body_are_refused_without_reading_on():
    with pytest.raises(DataError, match="10,000 columns are read"):
        column_titles(Content.of_bytes(HEADER.strip() + b",x" * 300_000 + b"\n" + b"broken" * 10))


def test_the_titles_of_a_body():
    assert column_titles(Content.of_bytes(b"session,log_return_1,rsi_14\n2024-03-11,0.5,1\n")) == (
        "session", "log_return_1", "rsi_14"
    )  # fmt: skip


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_end_of_a_line_is_seen_in_every_encoding(end):
    for encoding in ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert Content.of_bytes((b"a,b" + end).decode().encode(encoding)).ends_a_line()
        assert not Content.of_bytes("a,b".encode(encoding)).ends_a_line()


def test_a_torn_last_line_loses_its_numbers():
    bars = read_bars(Content.of_bytes(HEADER + ROW + b"2024-03-12,10,11,9,1"), "AAA", lambda: "UTC")
    assert bars.iloc[1].isna().all()
    assert bars.iloc[0]["close"] == 10.5


@pytest.mark.parametrize(
    ("last", "is_read"), [("149.43", True), ("149.4", False), ("149.", False), ("149", False), ("14", False)]
)
def test_a_last_price_that_lacks_digits_where_the_file_ends_was_cut_off(last, is_read):
    text = f"Date,Close,Volume,Open,High,Low\n2024-03-11,150.19,1000,150.25,151.04,{last}"
    whole, cut = (read_bars(Content.of_bytes(body.encode()), "AAA", lambda: "UTC") for body in (text + "\n", text))
    assert whole["low"].to_list() == [float(last)]
    assert cut["low"].isna().to_list() == cut["close"].isna().to_list() == [not is_read]


@pytest.mark.parametrize(("last", "is_read"), [("149", True), ("14", False)])
def test_whole_prices_are_cut_off_where_one_digit_is_missing(last, is_read):
    text = f"Date,Close,Volume,Open,High,Low\n2024-03-11,150,1000,151,152,{last}"
    cut = read_bars(Content.of_bytes(text.encode()), "AAA", lambda: "UTC")
    assert cut["close"].isna().to_list() == [not is_read]


def test_a_torn_date_or_ticker_is_left_out_with_its_line():
    assert len(read_bars(Content.of_bytes(HEADER + ROW + b"2024-03-1"), "AAA", lambda: "UTC")) == 1
    header = HEADER.strip() + b",symbol\n"
    rows = b"2024-03-11,10,11,9,10.5,1000,AAA\n2024-03-11,20,21,19,20.5,2000,BBB\n2024-03-12,20,21,19,20"
    bars = read_bars(Content.of_bytes(header + rows), "AAA", lambda: "UTC")
    assert bars["close"].to_list() == [10.5]


def test_a_short_line_that_ends_keeps_its_numbers():
    bars = read_bars(Content.of_bytes(HEADER + ROW + b"2024-03-12,10,11,9,10.5\n"), "AAA", lambda: "UTC")
    assert bars.iloc[1]["close"] == 10.5
    assert bars["volume"].isna().to_list() == [False, True]
