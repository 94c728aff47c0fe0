"""The schema of `source:` in params.yaml: where prices come from, and how price files are written."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from mlops_cli.config.schemas.field_types import Expect, StrictModel

ColumnKind = Literal[
    "date",
    "time",
    "symbol",
    "open",
    "high",
    "low",
    "close",
    "adj_close",
    "volume",
    "dividends",
    "stock_splits",
    "ignore",
]
_LEAP_DAY = date(2024, 2, 29)


class Actions(StrictModel):
    """Where dividends come from, besides the prices."""

    kind: Literal["auto", "none", "csv", "alpaca", "yfinance"] = Field(
        "auto",
        description="auto: the dividends in the prices, else what adjusted closes imply, and with source yfinance "
        "Yahoo's coming ex-dates; none: only what the prices say; csv, alpaca, yfinance: that source too",
    )
    folder: Path = Field(
        Path("actions"), description="folder inside source.folder with the files of dividends, for kind csv"
    )
    file: str | None = Field(
        None, description="name of one file in that folder with the dividends of all tickers; empty: one for each"
    )

    @field_validator("folder")
    @classmethod
    def _is_inside(cls, value: Path) -> Path:
        if value.is_absolute() or ".." in value.parts:
            raise ValueError("expected a folder inside source.folder, because dvc.yaml watches that folder")
        return value

    @field_validator("file")
    @classmethod
    def _in_folder(cls, value: str | None) -> str | None:
        if value and (Path(value).name != value or Path(value).suffix.lower() != ".csv"):
            raise ValueError("expected the name of a .csv file in source.actions.folder, without a path")
        return value


class Source(StrictModel):
    """Where prices and dividends come from."""

    kind: Literal["sample", "csv", "yfinance"] = Field("sample", description="the source of prices")
    folder: Path = Field(Path("data/incoming"), description="folder with the csv and parquet files, for source csv")
    file: str | None = Field(
        None, description="name of one file in that folder with the rows of all tickers; empty: a file for each ticker"
    )
    columns: dict[str, ColumnKind] = Field(
        default_factory=dict, description="what columns of the files hold, by their titles, e.g. {PX_SETTLE: close}"
    )
    decimal: Literal[".", ","] | None = Field(
        None, description="decimal mark of the files, in quotes; empty: the files must show it"
    )
    dates: Annotated[str, Expect('day-first, month-first or a format such as "%d.%m.%Y"')] | None = Field(
        None, description="how the files write dates; empty: the files must show it"
    )
    timezone: Annotated[str, Expect("a time zone such as UTC or Asia/Tokyo")] | None = Field(
        None, description="zone of times without one in the files; empty: such a time only labels its day"
    )
    actions: Actions = Field(Actions(), description="where dividends come from, besides the prices")

    @field_validator("file")
    @classmethod
    def _in_folder(cls, value: str | None) -> str | None:
        if value and (Path(value).name != value or Path(value).suffix.lower() not in (".csv", ".parquet")):
            raise ValueError("expected the name of a .csv or .parquet file in source.folder, without a path")
        return value

    @field_validator("dates")
    @classmethod
    def _names_a_day(cls, value: str | None) -> str | None:
        if value is None or value in ("day-first", "month-first"):
            return value
        try:
            read = datetime.strptime(_LEAP_DAY.strftime(value), value).date()
        except ValueError:
            read = None
        if read != _LEAP_DAY:
            raise ValueError('expected day-first, month-first or a format of day, month and year such as "%d.%m.%Y"')
        return value

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        try:
            return value and ZoneInfo(value).key
        except (ValueError, OSError, KeyError):
            raise ValueError("expected a time zone such as UTC or Asia/Tokyo") from None
