"""What Ludwig and torch say when they refuse something, in words for the user."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pydantic

LONGEST = 400
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def refusal_text(error: BaseException) -> str:
    """The first cause of a failure in one line: the key (where the library names one) and what is wrong with it."""
    cause = _first_cause(error)
    match cause:
        case jsonschema.ValidationError():
            text = _schema_text(cause)
        case pydantic.ValidationError():
            first = cause.errors(include_url=False)[0]
            text = f"{dotted(['ludwig', *first['loc']])}: {first['msg']}"
        case KeyError():
            text = f"{type(cause).__name__} {cause}"
        case _:
            text = str(cause) or type(cause).__name__
    line = " ".join(_COLOURS.sub("", text).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def unknown_keys(given: Any, complete: Any, where: str = "ludwig") -> list[str]:
    """Dotted keys of the config `given` that Ludwig's completed config lacks, because Ludwig does not know them."""
    if isinstance(given, dict) and isinstance(complete, dict):
        names: list[str] = []
        for key, value in given.items():
            name = f"{where}.{key}"
            names += unknown_keys(value, complete[key], name) if key in complete else [name + meant(key, complete)]
        return names
    if isinstance(given, list) and isinstance(complete, list) and len(given) == len(complete):
        pairs = enumerate(zip(given, complete, strict=True))
        return [key for i, (mine, full) in pairs for key in unknown_keys(mine, full, f"{where}[{i}]")]
    return []


def meant(key: str, valid: Iterable[str]) -> str:
    """The valid key that may have been meant, as the end of a message; empty if none is near."""
    close = difflib.get_close_matches(key, valid, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def dotted(path: Iterable[str | int]) -> str:
    """A path of keys and positions as one text.

    >>> dotted(["ludwig", "input_features", 0, "encoder"])
    'ludwig.input_features[0].encoder'
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _first_cause(error: BaseException) -> BaseException:
    if isinstance(error, ImportError):  # the outer one says what to install
        return error
    inner: BaseException | None = error.__cause__
    if isinstance(error, pydantic.ValidationError):
        inner = error.errors()[0].get("ctx", {}).get("error")
    return error if inner is None else _first_cause(inner)


def _schema_text(error: jsonschema.ValidationError) -> str:
    where = dotted(["ludwig", *error.absolute_path])
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        valid = error.schema.get("properties", {})
        unknown = [f"{key}{meant(key, valid)}" for key in error.instance if key not in valid]
        return f"{where}: unknown key {', '.join(unknown)}"
    return f"{where}: {error.message}"
