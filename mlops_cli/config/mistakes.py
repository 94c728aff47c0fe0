"""Collects the mistakes of all files, to report them together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mlops_cli.config.schemas.descriptions import ErrorPlace, locate_error
from mlops_cli.config.yaml_files import UnreadableYaml, read_yaml
from mlops_cli.errors import ConfigError

BROKEN = object()  # returned by `Mistakes.read` for a file that cannot be read as YAML

_SHOWN = 50
_LONGEST = 200
_EXPLAINED, _COMPARED = 1_000, 2_000
"""So many mistakes of one file are put into words; among so many mistakes or names a similar one is sought."""


class Mistakes:
    """A list of lines `file: key: what is wrong`, which are raised as one error."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, file: str, text: str, key: str = "") -> None:
        """Note one mistake. The same line is noted only once."""
        line = f"{file}: {key}: {text}" if key else f"{file}: {text}"
        if line not in self.lines[-_COMPARED:]:
            self.lines.append(line)

    def read(self, path: Path, file: str) -> Any:
        """The content of a YAML file; if it cannot be read, the reason is noted and `BROKEN` returned."""
        try:
            return read_yaml(path)
        except UnreadableYaml as error:
            self.add(file, str(error))
            return BROKEN

    def validate[M: BaseModel](self, model: type[M], data: Any, file: str, under: str = "") -> M | None:
        """`data` as a `model`; None if it is wrong: its mistakes are noted, their keys prefixed with `under`."""
        if data is BROKEN:
            return None
        if not isinstance(data, dict):
            self.add(file, f"expected a mapping (key: value), was {value_in_words(data)}", under)
            return None
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for key, text in _explain(error, model):
                self.add(file, text, ".".join(filter(None, (under, key))))
            if error.error_count() > _EXPLAINED:
                self.add(file, f"and {error.error_count() - _EXPLAINED} mistakes more", under)
            return None

    def value_or_raise[T](self, value: T | None) -> T:
        """Return `value`, or raise the mistakes that were noted as a `ConfigError`."""
        self.raise_if_any()
        if value is None:
            raise RuntimeError("nothing was loaded, and no mistake was noted")
        return value

    def raise_if_any(self, hint: str = "") -> None:
        """Raise all noted mistakes as one `ConfigError`; nothing if there are none."""
        if not self.lines:
            return
        more = len(self.lines) - _SHOWN
        shown = self.lines[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise ConfigError("\n".join(shown), hint or "Fix the lines above, then run: mlops config check")


def value_in_words(value: Any) -> str:
    """A value as messages show it, with its type if YAML may have read it as a type that the user did not mean.

    >>> value_in_words(1398), value_in_words(True), value_in_words("x"), value_in_words(None)
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


def suggestion(word: str, words: Iterable[str]) -> str:
    """The end of a message about an unknown word: the most similar known word, or a list of known words.

    >>> suggestion("tickrs", ["team", "tickers"]), suggestion("zzz", ["team", "tickers"])
    (', did you mean tickers?', ' (known: team, tickers)')
    """
    names = list(words)[:_COMPARED]
    close = difflib.get_close_matches(word[:_LONGEST], names, n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]}?"
    shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
    return f" (known: {shown})" if names else ""


def _explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    first_errors = error.errors(include_url=False)[:_EXPLAINED]
    errors = [(locate_error(model, e["loc"]), e) for e in first_errors]
    # for a union of a name and a mapping, a wrong mapping also gives an error as name: report the deeper errors only
    useful = [
        (place, e)
        for place, e in errors
        if e["loc"][-1:] == ("[key]",) or not any(_below(other.path, place.path) for other, _ in errors)
    ]
    # each member of a union reports an error of its own at the same place
    first = {".".join(map(str, place.path)): (place, e) for place, e in reversed(useful)}
    return [(key, _message(place, e)) for key, (place, e) in reversed(first.items())]


def _below(path: tuple[str | int, ...], above: tuple[str | int, ...]) -> bool:
    return len(path) > len(above) and path[: len(above)] == above


def _message(place: ErrorPlace, error: Any) -> str:
    kind, value = error["type"], error["input"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"expected {place.expected}, was {value_in_words(value)}: write it in quotes"
    texts = {
        "extra_forbidden": f"unknown key{suggestion(str(place.path[-1]) if place.path else '', place.siblings)}",
        "invalid_key": "expected text as key: write it in quotes",
        "missing": f"is missing, expected {place.expected}",
        "too_short": "expected at least one entry, was an empty list",
    }
    return texts.get(kind, f"expected {place.expected}, was {value_in_words(value)}")
