"""Dividends from CSV files: what is read, what is refused with its line, and whose rows they are."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import ConfigError, DataError
from mlops_cli.prices.actions.action_source import ActionRequest, ListedDividend, Listing
from mlops_cli.prices.actions.csv_actions import CsvActions
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.source import SourceFailure

NOW = datetime(2024, 6, 30, 12, tzinfo=UTC)


def fetch(folder: Path, *tickers: str, form: FileFormat | None = None, file: str | None = None, now: datetime = NOW):
    exchanges = dict.fromkeys(tickers or ("IBM",), "XNYS")
    return CsvActions(folder, form, file).fetch(ActionRequest(exchanges, now), lambda _: None)


def read(folder: Path, text: str | bytes, **more) -> tuple[ListedDividend, ...]:
    """The dividends of IBM in a file of its own."""
    (folder / "IBM.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    listing = fetch(folder, **more).by_ticker["IBM"]
    assert isinstance(listing, Listing), listing
    assert listing.complete
    return listing.dividends


def refusal(folder: Path, text: str | bytes, **more) -> str:
    """Why a file of IBM's is refused."""
    (folder / "IBM.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    failure = fetch(folder, **more).by_ticker["IBM"]
    assert isinstance(failure, SourceFailure), failure
    assert failure.exit_code == DataError.exit_code
    assert str(folder / "IBM.csv") in failure.reason
    return failure.reason.replace(str(folder), "")


def days_and_amounts(dividends: tuple[ListedDividend, ...]) -> list[tuple[str, float | None]]:
    return [(str(dividend.ex_date), dividend.amount) for dividend in dividends]


class TestRead:
    def test_all_columns(self, tmp_path: Path) -> None:
        text = "ex_date,amount,kind,currency,announced\n2024-08-09,1.67,cash,USD,2024-06-25\n2024-09-10,5,special,,\n"
        regular, special = read(tmp_path, text)
        assert regular == ListedDividend(
            date(2024, 8, 9), 1.67, "IBM.csv:2", "cash", "USD", announced=date(2024, 6, 25)
        )
        assert special == ListedDividend(date(2024, 9, 10), 5.0, "IBM.csv:3", "special")

    @pytest.mark.parametrize(
        "text",
        [
            "Ex-Date;Dividend\n2024-08-09;1.67\n",
            "EX DATE\tAmount\n2024-08-09\t1.67\n",
            "amount|ex_date\n1.67|2024-08-09\n",
            "ex_date,amount,record_date,payable_date\n2024-08-09,1.67,2024-08-09,2024-09-10\n",
            "ex_date,amount\r\n\r\n2024-08-09,$1.67\r\n",
            'ex_date;amount\n09.08.2024;"1,67"\n10.05.2024;1,67\n13.02.2024;1,66\n',
            "ex_date,amount\nAug 9 2024,1.67\n",
            "ex_date,amount,kind\n2024-08-09,1.67,Regular\n",
        ],
    )
    def test_usual_notations(self, tmp_path: Path, text: str) -> None:
        assert days_and_amounts(read(tmp_path, text))[0] == ("2024-08-09", 1.67)

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    def test_usual_encodings(self, tmp_path: Path, encoding: str) -> None:
        text = "ex_date,amount,currency\n2024-08-09,1.67,€\n".encode(encoding)
        assert days_and_amounts(read(tmp_path, text)) == [("2024-08-09", 1.67)]

    def test_what_the_settings_say_wins(self, tmp_path: Path) -> None:
        form = FileFormat(decimal=",", dates="%d/%m/%y")
        assert days_and_amounts(read(tmp_path, "ex_date;amount\n09/08/24;1,670\n", form=form)) == [("2024-08-09", 1.67)]
        day_first = FileFormat(dates="day-first")
        assert days_and_amounts(read(tmp_path, "ex_date,amount\n09/08/2024,1\n", form=day_first))[0][0] == "2024-08-09"

    def test_dates_of_iso_are_read_whatever_the_settings_of_prices_say(self, tmp_path: Path) -> None:
        form = FileFormat(dates="%d.%m.%Y")
        assert days_and_amounts(read(tmp_path, "ex_date,amount\n2024-08-09,1\n", form=form)) == [("2024-08-09", 1.0)]

    def test_a_file_with_a_header_alone_says_that_there_are_none(self, tmp_path: Path) -> None:
        assert read(tmp_path, "ex_date,amount\n") == ()

    @settings(deadline=None, max_examples=40)
    @given(st.dictionaries(st.dates(date(1990, 1, 1), date(2025, 1, 1)), st.floats(0.0001, 1e4), max_size=8))
    def test_what_is_written_plainly_is_read_exactly(self, tmp_path_factory, dividends: dict[date, float]) -> None:
        lines = [f"{day},{amount!r}" for day, amount in dividends.items()]
        listed = read(tmp_path_factory.mktemp("csv"), "\n".join(["ex_date,amount", *lines, ""]))
        assert {dividend.ex_date: dividend.amount for dividend in listed} == dividends


class TestRefused:
    @pytest.mark.parametrize(
        ("line", "what"),
        [
            ("2024-13-09,1.67", "/IBM.csv:3: '2024-13-09' is not a date"),
            (",1.67", "/IBM.csv:3: '' is not a date"),
            ("2024-08-09,abc", "/IBM.csv:3: ex-date 2024-08-09: amount 'abc' is not a number"),
            ("2024-08-09,", "/IBM.csv:3: ex-date 2024-08-09: amount missing"),
            ("2024-08-09,-0.5", "/IBM.csv:3: ex-date 2024-08-09: amount -0.5"),
            ("2024-08-09,0", "/IBM.csv:3: ex-date 2024-08-09: amount 0"),
            ("2024-08-09,inf", "/IBM.csv:3: ex-date 2024-08-09: amount inf"),
            ("2024-08-09", "/IBM.csv:3: 1 cells, and the header has 2"),
            ("2024-08-09,1.67,USD", "/IBM.csv:3: 3 cells, and the header has 2"),
            ("2024-05-10,1.7", "/IBM.csv:3: ex-date 2024-05-10 stands in line 2 already"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path: Path, line: str, what: str) -> None:
        assert what in refusal(tmp_path, f"ex_date,amount\n2024-05-10,1.67\n{line}\n")

    @pytest.mark.parametrize(
        ("cells", "what"),
        [
            ("2024-08-09,1,stock,", "kind 'stock'"),
            ("2024-08-09,1,cash,2024-07-02", "announced on 2024-07-02, which is after today, 2024-06-30"),
            ("2024-08-09,1,cash,soon", "'soon' is not a date"),
        ],
    )
    def test_a_bad_kind_or_announcement_is_named(self, tmp_path: Path, cells: str, what: str) -> None:
        assert f"/IBM.csv:2: {what}" in refusal(tmp_path, f"ex_date,amount,kind,announced\n{cells}\n")

    def test_today_is_that_of_the_exchange(self, tmp_path: Path) -> None:
        text = "ex_date,amount,announced\n2024-08-09,1,2024-07-01\n"
        evening = datetime(2024, 7, 1, 2, tzinfo=UTC)  # still June 30 in New York
        assert "after today, 2024-06-30" in refusal(tmp_path, text, now=evening)
        assert read(tmp_path, text, now=datetime(2024, 7, 1, 5, tzinfo=UTC))

    @pytest.mark.parametrize(
        ("header", "what"),
        [
            ("date,amount,anounced", "/IBM.csv:1: column 'anounced' is not known; did you mean announced?"),
            ("ex_date,price", "/IBM.csv:1: column 'price' is not known"),
            ("ex_date,currency", "/IBM.csv:1: no column amount"),
            ("currency,kind", "/IBM.csv:1: no column ex_date and amount"),
            ("ex_date,amount,dividend", "/IBM.csv:1: two columns hold amount"),
        ],
    )
    def test_a_bad_header_is_named(self, tmp_path: Path, header: str, what: str) -> None:
        assert what in refusal(tmp_path, header + "\n")

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("", "the file is empty"),
            (b"\x00\x01\x02\x03", "not a readable text file"),
            ("ex_date,amount\n03/04/2024,1\n", "day first or month first?"),
            ("ex_date;amount\n2024-08-09;1,924\n", "decimal mark or a thousands mark?"),
            ('ex_date,amount\n2024-08-09,"1\n', "quotation mark"),
            ("ex_date,amount,ticker\n2024-08-09,1,MSFT\n", "/IBM.csv:2: the dividend is of MSFT"),
        ],
    )
    def test_a_file_that_can_be_read_in_two_ways_or_not_at_all(self, tmp_path: Path, text: str, what: str) -> None:
        assert what in refusal(tmp_path, text)

    def test_a_folder_in_place_of_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "IBM.csv").mkdir()
        failure = fetch(tmp_path).by_ticker["IBM"]
        assert isinstance(failure, SourceFailure)
        assert "not a regular file" in failure.reason

    def test_the_other_tickers_are_read_nevertheless(self, tmp_path: Path) -> None:
        (tmp_path / "IBM.csv").write_text("nonsense")
        (tmp_path / "MSFT.csv").write_text("ex_date,amount\n2024-08-15,0.75\n")
        answers = fetch(tmp_path, "IBM", "MSFT").by_ticker
        assert isinstance(answers["IBM"], SourceFailure)
        assert isinstance(answers["MSFT"], Listing)


class TestFiles:
    def test_a_ticker_without_a_file_is_not_listed_at_all(self, tmp_path: Path) -> None:
        assert fetch(tmp_path).by_ticker == {"IBM": Listing("IBM", "csv", (), complete=False)}

    def test_case_does_not_matter(self, tmp_path: Path) -> None:
        (tmp_path / "ibm.CSV").write_text("ex_date,amount\n2024-08-09,1.67\n")
        listing = fetch(tmp_path).by_ticker["IBM"]
        assert isinstance(listing, Listing)
        assert len(listing.dividends) == 1

    def test_files_of_other_tickers_are_noted(self, tmp_path: Path) -> None:
        (tmp_path / "IBN.csv").write_text("ex_date,amount\n2024-08-09,1.67\n")
        (note,) = fetch(tmp_path).notes
        assert note == f"{tmp_path}: dividends of tickers that no model of this branch has: IBN.csv; left out"

    def test_without_the_folder_nothing_works(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"source\.actions\.folder: .* is not a folder"):
            fetch(tmp_path / "none")


class TestOneFile:
    TEXT = "ticker,ex_date,amount\nIBM,2024-08-09,1.67\nMSFT,2024-08-15,0.75\nIBM,2024-05-09,1.67\n"

    def one(self, folder: Path, text: str, *tickers: str):
        (folder / "all.csv").write_text(text)
        return fetch(folder, *tickers, file="all.csv")

    def test_each_ticker_gets_its_rows(self, tmp_path: Path) -> None:
        answers = self.one(tmp_path, self.TEXT, "IBM", "MSFT", "GOOG").by_ticker
        listings = [answer for answer in answers.values() if isinstance(answer, Listing)]
        assert [len(listing.dividends) for listing in listings] == [2, 1, 0]
        assert [listing.complete for listing in listings] == [True, True, False]
        assert [dividend.where for dividend in listings[0].dividends] == ["all.csv:2", "all.csv:4"]

    def test_marks_of_us_exchanges_do_not_matter(self, tmp_path: Path) -> None:
        answers = self.one(tmp_path, self.TEXT.replace("MSFT", "MSFT.US"), "IBM", "MSFT")
        listing = answers.by_ticker["MSFT"]
        assert isinstance(listing, Listing)
        assert len(listing.dividends) == 1
        assert answers.notes == ()

    def test_an_unknown_ticker_is_noted_with_line_and_day(self, tmp_path: Path) -> None:
        (note,) = self.one(tmp_path, self.TEXT, "IBM").notes
        assert (
            "all.csv: dividends of tickers that no model of this branch has: MSFT (line 3, ex-date 2024-08-15)" in note
        )

    def test_a_bad_line_refuses_its_own_ticker_only(self, tmp_path: Path) -> None:
        answers = self.one(tmp_path, self.TEXT.replace("MSFT,2024-08-15", "MSFT,2024-08-45"), "IBM", "MSFT").by_ticker
        assert isinstance(answers["IBM"], Listing)
        failure = answers["MSFT"]
        assert isinstance(failure, SourceFailure)
        assert "all.csv:3: '2024-08-45' is not a date" in failure.reason

    @pytest.mark.parametrize("text", ["ticker,ex_date,amount\n,2024-08-09,1\n", "ex_date,amount\n2024-08-09,1\n"])
    def test_rows_without_a_ticker_refuse_all(self, tmp_path: Path, text: str) -> None:
        answers = self.one(tmp_path, text, "IBM", "MSFT").by_ticker
        assert [
            isinstance(answer, SourceFailure) and "all.csv:2: no ticker" in answer.reason for answer in answers.values()
        ]

    def test_without_the_file_nothing_works(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"source\.actions\.file: there is no"):
            fetch(tmp_path, file="all.csv")
