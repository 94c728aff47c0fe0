"""What the user says about price files where the files do not say it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FileFormat:
    """The settings of `source:` in params.yaml that say how files are read; each wins over what a file suggests.

    Attributes:
        columns: by the title of a column in the file, what it holds: `close`, `volume` ... or `ignore`.
        decimal: the decimal mark, "." or ","; None if the file has to prove it.
        dates: `day-first`, `month-first` or a strftime format; None if the file has to prove it.
        timezone: time zone of the times that have none in the file; None if such times are only labels of their day.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    decimal: str | None = None
    dates: str | None = None
    timezone: str | None = None
