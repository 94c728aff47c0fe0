"""A hypothesis strategy for price files: bars that are known, written out in the ways in which people write them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from mlops_cli.market.sessions import sessions
from tests.fakes.fake_yahoo import generated_bars

TICKER = "AAA"
OTHER = "BBB"
PRICES = ("open", "high", "low", "close")
SESSIONS = sessions("XNYS", pd.Timestamp("2023-10-02"), pd.Timestamp("2024-04-30"))

LAYOUTS = {
    "yahoo": "date:Date open:Open high:High low:Low close:Close adj_close:Adj_Close volume:Volume",
    "nasdaq": "date:Date close:Close/Last volume:Volume open:Open high:High low:Low",
    "polygon": "volume:v vw:vw open:o close:c high:h low:l date:t count:n",
    "investing": "date:Date close:Price open:Open high:High low:Low volume:Vol. change:Change_%",
    "investing_de": "date:Datum close:Zuletzt open:Eröffn. high:Hoch low:Tief volume:Vol. change:+/-_%",
    "stooq": "symbol:<TICKER> per:<PER> date:<DATE> time:<TIME> open:<OPEN> high:<HIGH> low:<LOW> close:<CLOSE> "
    "volume:<VOL> zero:<OPENINT>",
    "metatrader": "date:<DATE> open:<OPEN> high:<HIGH> low:<LOW> close:<CLOSE> volume:<TICKVOL>",
    "bloomberg": "date:Date open:PX_OPEN high:PX_HIGH low:PX_LOW close:PX_LAST volume:PX_VOLUME",
    "long": "date:date open:open high:high low:low close:close volume:volume symbol:Name",
    "tiingo": "date:date close:close high:high low:low open:open volume:volume adj_close:adjClose zero:divCash",
    "alpha": "date:timestamp open:open high:high low:low close:close adj_close:adjusted_close volume:volume "
    "zero:dividend_amount",
    "times": "date:Date time:Time open:Open high:High low:Low close:Last volume:Volume note:Comment",
}
DATES: dict[str, Callable[[pd.Timestamp], str]] = {
    "iso": lambda day: f"{day:%Y-%m-%d}",
    "compact": lambda day: f"{day:%Y%m%d}",
    "dotted iso": lambda day: f"{day:%Y.%m.%d}",
    "day first": lambda day: f"{day:%d/%m/%Y}",
    "month first": lambda day: f"{day:%m/%d/%Y}",
    "dotted": lambda day: f"{day:%d.%m.%Y}",
    "short years": lambda day: f"{day:%d.%m.%y}",
    "named": lambda day: f"{day:%d-%b-%Y}",
    "in words": lambda day: f"{day:%b %d, %Y}",
    "zoned": lambda day: f"{day:%Y-%m-%d} 00:00:00-05:00",
    "moment": lambda day: f"{day:%Y-%m-%d}T21:00:00Z",
    "seconds": lambda day: str(int(day.timestamp())),
    "milliseconds": lambda day: str(int((day + pd.Timedelta(hours=5)).timestamp() * 1000)),
}
NULLS = ("", "null", "N/A", "-", "N/D", "nan", "#N/A N/A", "—")
FAULTS = (
    "half in the other notation", "volumes in the other notation", "garbage", "another ticker", "mixed tickers",
    "short row", "long row", "two notations of dates", "two currencies", "torn", "open quotation mark",
    "header again", "blank lines", "note inside", "unquoted",
)  # fmt: skip
AS_TEXT = {"short row", "long row", "torn", "open quotation mark", "header again", "blank lines", "note inside"}
"""Faults that a parquet file cannot have."""


@dataclass(frozen=True)
class Style:
    """How a file is written."""

    layout: str
    dates: str
    separator: str
    decimal: str
    thousands: str
    places: int  # digits behind the decimal mark
    zeros: bool  # whether zeros at the end are written
    volumes: str  # plain, marked, suffix or float
    currency: str
    quoted: bool
    newest_first: bool
    encoding: str
    line_end: str
    above: str
    below: str
    null: str

    def number(self, value: float, places: int, *, marked: bool = True) -> str:
        """A number in this notation."""
        text = f"{value:,.{places}f}"
        if not self.zeros and "." in text:
            text = text.rstrip("0").rstrip(".")
        mark = self.thousands if marked else ""
        return text.replace(",", "\0").replace(".", self.decimal).replace("\0", mark)

    def other(self) -> Style:
        """The same with the other decimal mark, and with the thousands mark that goes with it."""
        if self.decimal == ".":
            return replace(self, decimal=",", thousands="." if self.thousands == "," else self.thousands)
        return replace(self, decimal=".", thousands="," if self.thousands == "." else self.thousands)


@dataclass
class WrittenFile:
    """A file, and the bars that it means.

    Attributes:
        truth: index of days; NaN where the file has no number. Empty if the file must be refused.
        last_volume_counts: False if the end of the file is torn off, so that its last number may have lost digits.
    """

    style: Style
    fault: str
    body: bytes
    truth: pd.DataFrame
    last_volume_counts: bool = True
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"{self.fault or 'no fault'}: {self.style}\n{self.body[:400]!r}"


def styles() -> st.SearchStrategy[Style]:
    """Ways to write a file, without those that nobody could tell from files with another meaning (see `_sound`)."""
    return st.builds(
        Style,
        layout=st.sampled_from(sorted(LAYOUTS)),
        dates=st.sampled_from(sorted(DATES)),
        separator=st.sampled_from([",", ",", ";", "\t", "|"]),
        decimal=st.sampled_from([".", ".", ","]),
        thousands=st.sampled_from(["", "", "other", " ", "'", "\u00a0"]),
        places=st.sampled_from([0, 1, 2, 2, 3, 3, 4]),
        zeros=st.booleans(),
        volumes=st.sampled_from(["plain", "plain", "marked", "suffix", "float"]),
        currency=st.sampled_from(["", "", "", "$", "€ "]),
        quoted=st.booleans(),
        newest_first=st.booleans(),
        encoding=st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "parquet"]),
        line_end=st.sampled_from(["\n", "\n", "\r\n", "\r"]),
        above=st.sampled_from(["", "", "sep=", "note", "notes"]),
        below=st.sampled_from(["", "", "note", "blank"]),
        null=st.sampled_from(NULLS),
    ).map(_sound)


def _sound(style: Style) -> Style:
    if style.thousands == "other":
        style = replace(style, thousands="," if style.decimal == "." else ".")
    if style.encoding == "cp1252":
        style = replace(style, null="-" if style.null == "—" else style.null)
    if style.separator == ";" and style.thousands == "," and style.dates in ("dotted", "short years"):
        return replace(style, separator="|")  # docs/data-sources.md: read as decimal commas if nothing else says more
    return style


@st.composite
def written_files(draw: st.DrawFn) -> WrittenFile:
    """A file, in 2 of 5 cases with a fault."""
    style = draw(styles())
    fault = draw(st.sampled_from(["", "", "", "fault", "fault"])) and draw(st.sampled_from(FAULTS))
    first, count = draw(st.integers(0, 60)), draw(st.integers(3, 60))
    price = draw(st.sampled_from([0.8, 12.0, 150.0, 900.0, 1_800.0, 38_000.0, 450_000.0]))
    share = draw(st.sampled_from([1.0, 0.1, 1e-4, 3.0]))
    bars = generated_bars(SESSIONS[first : first + count], draw(st.integers(0, 999)), price)
    place = draw(st.integers(0, count - 1))
    return written(bars.assign(volume=(bars["volume"] * share).round()), style, fault, place)


def written(bars: pd.DataFrame, style: Style, fault: str, place: int) -> WrittenFile:
    """Write bars as a file. `place` is the row of a fault, and of a missing bar if there is no fault."""
    kinds, titles = zip(*(pair.split(":", 1) for pair in LAYOUTS[style.layout].split()), strict=True)
    truth = bars.round(style.places).assign(adj_close=bars["close"].round(style.places))
    cells = [_row(day, row, style, kinds, i, len(bars), fault) for i, (day, row) in enumerate(truth.iterrows())]
    truth = truth.assign(volume=[_volume(value, style)[1] for value in truth["volume"]])
    if "adj_close" not in kinds:
        truth = truth.assign(adj_close=np.nan)
    if not fault and style.null != "?":
        cells[place] = [style.null if kind in (*PRICES, "adj_close", "volume") else cell
                        for kind, cell in zip(kinds, cells[place], strict=True)]  # fmt: skip
        truth.iloc[place] = np.nan
    rows = [cells[i] for i in (reversed(range(len(cells))) if style.newest_first else range(len(cells)))]
    file = WrittenFile(style, fault, b"", truth)
    _damage_rows(file, rows, kinds, len(rows) - 1 - place if style.newest_first else place)
    titles = tuple(title.replace("_", " ") if "PX" not in title else title for title in titles)
    if style.encoding == "parquet" and fault not in AS_TEXT:
        file.body = _parquet(titles, rows)
        return file
    text = _joined(list(titles), rows, file)
    file.body = text.encode(_encoding(style), "replace")
    if fault == "torn":
        _tear(file, text, place)
    return file


def _volume(value: float, style: Style) -> tuple[str, float]:
    """A volume as it is written, and the number that this means."""
    if style.volumes == "suffix" and value >= 1_000:
        power, suffix = (1e6, "M") if value >= 1e6 else (1e3, "K")
        shown = round(float(value) / power, 2)
        return style.number(shown, 2) + suffix, float(round(shown * power))
    if style.volumes == "float":
        return replace(style, zeros=True).number(value, 1, marked=False), value
    return style.number(value, 0, marked=style.volumes == "marked"), value


def _row(
    day: pd.Timestamp, row: pd.Series, style: Style, kinds: tuple[str, ...], number: int, count: int, fault: str
) -> list[str]:
    second_half = number >= count / 2
    prices = style.other() if fault == "half in the other notation" and second_half else style
    volumes = style.other() if fault == "volumes in the other notation" else prices
    currency = (
        {"$": "€ ", "€ ": "$", "": ""}[style.currency] if fault == "two currencies" and second_half else style.currency
    )
    dates = style.dates
    if fault == "two notations of dates" and second_half:
        dates = {"day first": "month first", "month first": "day first", "iso": "dotted"}.get(dates, "iso")
    cell = {
        "date": DATES[dates](day), "time": "00:00", "per": "D", "count": "1000", "zero": "0", "note": "fine",
        "symbol": OTHER if fault == "another ticker" or (fault == "mixed tickers" and number % 3 == 0) else TICKER,
        "change": prices.number(0.25, 2) + "%", "vw": prices.number(row["close"], style.places),
        "volume": _volume(row["volume"], volumes)[0],
    }  # fmt: skip
    for kind in (*PRICES, "adj_close"):
        cell[kind] = currency + prices.number(row[kind], style.places)
    return [cell[kind] for kind in kinds]


def _damage_rows(file: WrittenFile, rows: list[list[str]], kinds: tuple[str, ...], place: int) -> None:
    """Apply the fault to the rows, and to the truth if it changes what the file means."""
    day = file.truth.index[len(rows) - 1 - place if file.style.newest_first else place]
    match file.fault:
        case "garbage":
            rows[place][kinds.index("close")] = "1O2.5"
            file.truth = file.truth.iloc[:0]
        case "another ticker" if "symbol" in kinds:
            file.truth = file.truth.iloc[:0]
        case "mixed tickers" if "symbol" in kinds:
            file.truth = file.truth[np.arange(len(file.truth)) % 3 != 0]
        case "two currencies" if file.style.currency:
            file.truth = file.truth.iloc[:0]
        case "short row":
            length = max(kinds.index("date") + 1, len(kinds) // 2)
            rows[place] = rows[place][:length]
            gone = [kind for kind in kinds[length:] if kind in file.truth]
            file.truth.loc[day, gone] = np.nan
        case "long row":
            rows[place] = [*rows[place][:2], "7", *rows[place][2:]]
            file.truth = file.truth.iloc[:0]
        case "blank lines":
            rows.insert(place, [])
            rows.insert(place, [""] * len(kinds))


def _joined(titles: list[str], rows: list[list[str]], file: WrittenFile) -> str:
    style, fault = file.style, file.fault
    buffer = io.StringIO()
    quoting = csv.QUOTE_ALL if style.quoted and fault != "unquoted" else csv.QUOTE_MINIMAL
    writer = csv.writer(buffer, delimiter=style.separator, lineterminator=style.line_end, quoting=quoting)
    buffer.write(
        {"sep=": f"sep={style.separator}", "note": "Prices of a company", "notes": "Prices"}.get(style.above, "")
    )
    buffer.write(style.line_end if style.above else "")
    if style.above == "notes":
        writer.writerow(["Exported", "2024-07-01"])
    lines = [titles, *rows]
    if fault == "header again":
        lines.insert(len(lines) // 2, titles)
    if fault == "note inside":
        lines.insert(len(lines) // 2, ["Source: somewhere"])
    for line in lines:
        if fault == "unquoted":
            buffer.write(style.separator.join(line) + style.line_end)
        else:
            writer.writerow(line)
    buffer.write({"note": f"Source: somewhere{style.line_end}", "blank": style.line_end * 2}.get(style.below, ""))
    text = buffer.getvalue()
    if fault == "open quotation mark":
        middle = text.index(style.line_end, len(text) // 2) + len(style.line_end)
        text = text[:middle] + '"' + text[middle:]
    return text


def _encoding(style: Style) -> str:
    return "utf-8" if style.encoding == "parquet" else style.encoding


def _parquet(titles: tuple[str, ...], rows: list[list[str]]) -> bytes:
    """The cells as texts of a parquet file."""
    stream = io.BytesIO()
    pq.write_table(pa.table({title: [row[place] for row in rows] for place, title in enumerate(titles)}), stream)
    return stream.getvalue()


def _tear(file: WrittenFile, text: str, place: int) -> None:
    """Cut the end of the file off, somewhere behind its first rows."""
    start = len(text) // 2
    kept = text[: start + (place * 7919) % max(1, len(text) - start)]
    file.body = kept.encode(_encoding(file.style), "replace")
    file.last_volume_counts = False
