"""Describes the schemas in words: for error messages, `mlops config schema` and docs/configuration.md."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mlops_cli.config.schemas.field_types import Expect

_PLAIN = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    date: 'a date such as "2024-01-31"',
    Path: "a path",
    Any: "anything",
}


@dataclass(frozen=True)
class SchemaKey:
    """One key of a file.

    Attributes:
        path: dotted; `<name>` stands for a name that the user chooses.
        takes: the values it accepts, in words.
        default: as YAML shows it; empty if the key must be given.
    """

    path: str
    takes: str
    default: str
    description: str


@dataclass(frozen=True)
class ErrorPlace:
    """The place of a mistake in a file.

    Attributes:
        path: keys and list positions as in the file, without the parts that pydantic adds.
        expected: the values that are accepted there, in words.
        siblings: the keys accepted by the mapping that contains the last key of `path`; empty if it accepts any.
    """

    path: tuple[str | int, ...]
    expected: str
    siblings: tuple[str, ...]


def schema_keys(model: type[BaseModel], prefix: str = "") -> Iterator[SchemaKey]:
    """All keys of a file in the order of the schema, nested keys included."""
    for name, field in model.model_fields.items():
        path, annotation = f"{prefix}{name}", _annotation(field)
        default = "" if field.is_required() else _default(field)
        yield SchemaKey(path, type_in_words(annotation), default, field.description or "")
        inner = _models_in(annotation)
        if inner:
            step = ".<name>." if get_origin(_bare(annotation)[0]) is dict else "."
            yield from schema_keys(inner[0], f"{path}{step}")


def type_in_words(annotation: Any) -> str:
    """The values that a type accepts, with an article: "a whole number of at least 2"."""
    bare, metadata = _bare(annotation)
    expected = next((m.words for m in metadata if isinstance(m, Expect)), None)
    if expected:
        return expected
    origin, args = get_origin(bare), get_args(bare)
    if origin is Literal:
        return _either(map(str, args))
    if _is_union(bare):
        # the limits of the whole field apply to each of its members
        return _either("nothing" if a is type(None) else type_in_words(Annotated[a, *metadata, None]) for a in args)
    if origin is tuple:
        return f"a list (each: {type_in_words(args[0])})"
    return _PLAIN.get(bare, "a mapping") + _limits(metadata)


def locate_error(model: type[BaseModel], location: Sequence[str | int]) -> ErrorPlace:
    """Translate the location of a pydantic error into the path in the file."""
    annotation: Any = model
    path: list[str | int] = []
    siblings: tuple[str, ...] = ()
    key_type: Any = str
    for position, part in enumerate(location):
        bare = _without_none(_bare(annotation)[0])
        if _is_union(bare):  # here `part` is the name that pydantic gives to a member of the union
            # if no member is a model, keep the annotation: it may describe what the whole union accepts
            annotation = _model_of(bare, has_keys=position + 1 < len(location)) or annotation
            continue
        if part == "[key]":
            return ErrorPlace(tuple(path), f"{type_in_words(key_type)} as key", ())
        path.append(part)
        key_type = get_args(bare)[0] if get_origin(bare) is dict else str
        siblings = tuple(bare.model_fields) if _is_model(bare) else ()
        annotation = _annotation_of_part(bare, part)
    return ErrorPlace(tuple(path), type_in_words(annotation), siblings)


def _without_none(bare: Any) -> Any:
    """`T` for `T | None`; any other type as it is."""
    members = [member for member in get_args(bare) if member is not type(None)] if _is_union(bare) else []
    return members[0] if len(members) == 1 else bare


def _model_of(union: Any, *, has_keys: bool) -> Any:
    """The first model in a union, if the location continues inside it; else None."""
    models = [member for member in get_args(union) if _is_model(member)]
    return models[0] if models and has_keys else None


def _annotation_of_part(bare: Any, part: str | int) -> Any:
    if _is_model(bare):
        field = bare.model_fields.get(part)
        return _annotation(field) if field else Any
    args = get_args(bare)
    if get_origin(bare) is dict:
        return args[1]
    return args[0] if args else Any


def _annotation(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _bare(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    bare, *metadata = get_args(annotation)
    flat = [inner for m in metadata for inner in (m.metadata if isinstance(m, FieldInfo) else [m])]
    return bare, tuple(flat)


def _either(choices: Iterable[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def _is_union(bare: Any) -> bool:
    return get_origin(bare) in (Union, types.UnionType)


def _is_model(bare: Any) -> bool:
    return isinstance(bare, type) and issubclass(bare, BaseModel)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    bare = _bare(annotation)[0]
    if _is_model(bare):
        return [bare]
    return [model for argument in get_args(bare) for model in _models_in(argument)]


def _limits(metadata: Sequence[Any]) -> str:
    limits = {name: getattr(m, name) for m in metadata for name in ("gt", "ge", "lt", "le") if hasattr(m, name)}
    if isinstance(limits.get("lt"), int) and "ge" in limits:  # whole numbers
        limits["le"] = limits.pop("lt") - 1
    if "ge" in limits and "le" in limits:
        return f" from {limits['ge']} to {limits['le']}"
    phrases = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}
    return "".join(f" {phrases[name]} {limit}" for name, limit in limits.items())


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or (isinstance(value, Mapping | tuple) and not value):
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
