"""Collecting every mistake of every file before saying anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mlops_cli.config.schemas.describe import Place, locate
from mlops_cli.config.yaml_files import UnreadableYaml, read_yaml
from mlops_cli.errors import ConfigError

BROKEN = object()
"""What `Mistakes.read` gives for a file that is no YAML."""

_SHOWN = 50


class Mistakes:
    """A list of lines `file: key: what is wrong`, raised together."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, file: str, text: str, key: str = "") -> None:
        """Note one mistake."""
        line = f"{file}: {key}: {text}" if key else f"{file}: {text}"
        if line not in self.lines:
            self.lines.append(line)

    def read(self, path: Path, file: str) -> Any:
        """Read a YAML file; note why it cannot be read and return `BROKEN`."""
        try:
            return read_yaml(path)
        except UnreadableYaml as error:
            self.add(file, str(error))
            return BROKEN

    def check[M: BaseModel](self, model: type[M], data: Any, file: str, under: str = "") -> M | None:
        """Validate `data`; note what is wrong with it (keys prefixed with `under`) and return None."""
        if data is BROKEN:
            return None
        if not isinstance(data, dict):
            self.add(file, f"expected a mapping (key: value), was {was(data)}", under)
            return None
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for key, text in _explain(error, model):
                self.add(file, text, ".".join(filter(None, (under, key))))
            return None

    def settle[T](self, value: T | None) -> T:
        """Return `value`, or raise what was noted.

        Raises:
            ConfigError: there is at least one mistake.
        """
        self.raise_if_any()
        if value is None:
            raise RuntimeError("nothing was loaded, and no mistake was noted")
        return value

    def raise_if_any(self, hint: str = "") -> None:
        """Raise all noted mistakes as one error.

        Raises:
            ConfigError: there is at least one.
        """
        if not self.lines:
            return
        more = len(self.lines) - _SHOWN
        shown = self.lines[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise ConfigError("\n".join(shown), hint or "mend the lines above, then look with: mlops config check")


def was(value: Any) -> str:
    """A value as a message shows it: its kind where YAML may have read another one than was meant.

    >>> was(1398), was(True), was("x"), was(None)
    ('the number 1398', 'the YAML word true', "'x'", 'empty')
    """
    match value:
        case None:
            shown = "empty"
        case bool():
            shown = f"the YAML word {str(value).lower()}"
        case int() | float():
            shown = f"the number {value}"
        case str():
            shown = repr(value if len(value) <= 60 else f"{value[:57]}...")
        case _:
            shown = "a mapping" if isinstance(value, dict) else "a list"
    return shown


def suggestion(word: str, known: Iterable[str]) -> str:
    """What the user may have meant, as the end of a message.

    >>> suggestion("tickrs", ["team", "tickers"]), suggestion("zzz", ["team", "tickers"])
    (', did you mean tickers?', ' (known: team, tickers)')
    """
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]}?"
    shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
    return f" (known: {shown})" if names else ""


def _explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    found = [(locate(model, e["loc"]), e) for e in error.errors(include_url=False)]
    # a mapping where a name or a mapping may stand fails as a name too: only what lies deeper is of use
    useful = [
        (place, e)
        for place, e in found
        if e["loc"][-1:] == ("[key]",) or not any(_below(other.path, place.path) for other, _ in found)
    ]
    # the members of a union fail one by one at one place
    first = {".".join(map(str, place.path)): (place, e) for place, e in reversed(useful)}
    return [(key, _words(place, e)) for key, (place, e) in reversed(first.items())]


def _below(path: tuple[str | int, ...], above: tuple[str | int, ...]) -> bool:
    return len(path) > len(above) and path[: len(above)] == above


def _words(place: Place, error: Any) -> str:
    kind, value = error["type"], error["input"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"expected {place.expected}, was {was(value)}: write it in quotes"
    texts = {
        "extra_forbidden": f"unknown key{suggestion(str(place.path[-1]) if place.path else '', place.known)}",
        "invalid_key": "expected text as key: write it in quotes",
        "missing": f"is missing, expected {place.expected}",
        "too_short": "expected at least one entry, was an empty list",
    }
    return texts.get(kind, f"expected {place.expected}, was {was(value)}")
