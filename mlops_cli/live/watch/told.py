"""What people were told of: each trouble once, as long as it lasts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mlops_cli.system.files import write_text

FILE = "told.json"


class Told(BaseModel):
    """A trouble that people were told of.

    Attributes:
        step: that found it.
        text: the sentence.
        since: when they were told.
        is_event: nobody is told that it is over.
    """

    model_config = ConfigDict(frozen=True)

    step: str
    text: str
    since: datetime
    is_event: bool = False


_Troubles = TypeAdapter(dict[str, Told])


def read_told(folder: Path) -> dict[str, Told]:
    """What people were told of and that lasts, by key; nothing if the file is damaged: they are then told again."""
    try:
        return _Troubles.validate_json((folder / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def write_told(folder: Path, told: dict[str, Told]) -> None:
    """Write it, whole or not at all."""
    write_text(folder / FILE, _Troubles.dump_json(told, indent=2).decode() + "\n")
