"""Writing the journal to a file for other tools."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mlops_cli.errors import ConfigError
from mlops_cli.live.journal.staleness import stale_when_issued
from mlops_cli.system.files import write_whole


def export_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `frames.journal_frame` as they are exported: with a column `stale` (when it was issued) and days.

    Issued prices and `actual_close` are in the units of the day of issue; `table_close` is in those of the price table,
    `units` times the former.
    """
    days = {name: frame[name].dt.date for name in ("session", "target_session", "previous_session")}
    return frame.assign(**days, stale=stale_when_issued(frame))


def write_export(frame: pd.DataFrame, path: Path) -> Path:
    """Write `export_frame` of the rows to `path`, whole or not at all: `.parquet` or `.csv` (numbers with all digits).

    Raises:
        ConfigError: another kind of file, or it cannot be written.
    """
    rows = export_frame(frame)
    try:
        match path.suffix.lower():
            case ".parquet":
                return write_whole(path, lambda part: rows.to_parquet(part, index=False))
            case ".csv":
                return write_whole(path, lambda part: rows.to_csv(part, index=False))
            case _:
                raise ConfigError(f"{path}: journals are exported as .parquet or .csv", "name the file accordingly")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}", "name another file") from error
