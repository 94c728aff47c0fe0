"""Edits YAML files: only the top-level block that changes is rewritten, all else stays byte for byte.

ruamel.yaml keeps comments, but attaches a comment between two keys to the upper key, and loses it when that key's value
is replaced. So each block is cut out of the text, edited on its own, and put back.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import yaml

from mlops_cli.config.yaml_files import UnreadableYaml, parse_yaml
from mlops_cli.errors import ConfigError

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class YamlDocument:
    """The text of a YAML mapping, with methods to edit it; `name` stands for the file in messages.

    Raises:
        ConfigError: it is not YAML, or not a mapping.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.text = text
        try:
            self.data: dict[str, Any] = parse_yaml(text) or {}
        except UnreadableYaml as error:
            raise self._refusal(str(error)) from error
        if not isinstance(self.data, dict):
            raise self._refusal("expected a mapping (key: value)")

    def get(self, path: Sequence[str]) -> Any:
        """The value at a path of keys; None if there is no value."""
        value: Any = self.data
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def put(self, path: Sequence[str], value: Any) -> None:
        """Set the value at a path of keys and create missing mappings; a `ConfigError` if there is another value."""

        def change(block: Any) -> None:
            for depth, key in enumerate(path[:-1]):
                block = block[key] if block.get(key) is not None else block.setdefault(key, _mapping())
                if not isinstance(block, dict):
                    raise self._refusal(f"{'.'.join(path[: depth + 1])} is not a mapping, it has no {path[depth + 1]}")
                if not block:
                    block.fa.set_block_style()  # type: ignore[attr-defined]  # ruamel's own mapping
            block[path[-1]] = ruamel_value(value)

        self.change(path[0], change)

    def change(self, key: str, edit: Callable[[Any], None]) -> None:
        """Call `edit` with the mapping `{key: ...}` of one top-level key, comments included; with {} if the key is new.

        Raises:
            ConfigError: the block cannot be read or written on its own.
        """
        from ruamel.yaml.error import YAMLError

        if self.text.lstrip().startswith("{"):
            raise self._refusal("write it with one key per line, not as {key: value}; only then can it be edited")
        ruamel, out = _ruamel(), io.StringIO()
        try:
            block = ruamel.load(self.block(key)) or _mapping()
            edit(block)
            ruamel.dump(block, out)
            # ruamel leaves a space at the end of a line where it breaks a long list
            self.replace(key, re.sub(r" +$", "", out.getvalue(), flags=re.MULTILINE))
        except (YAMLError, UnreadableYaml) as error:
            raise self._refusal(f"{key} cannot be edited automatically, edit it by hand ({error})") from error

    def block(self, key: str) -> str:
        """The text of one top-level block; empty if the key does not exist."""
        start, end = self._lines(key)
        return "".join(self._split()[start:end])

    def replace(self, key: str, block: str) -> None:
        """Replace the text of one top-level block, or append the text if the key does not exist."""
        start, end = self._lines(key)
        lines = self._split()
        self.text = "".join([*lines[:start], block, *lines[end:]])
        self.data = parse_yaml(self.text)

    def quote_dates(self) -> list[str]:
        """Put dates in quotes, because DVC cannot read them without; returns their dotted keys."""
        return [key for top in list(self.data) for key in self._quote_block(top)]

    def _quote_block(self, top: str) -> list[str]:
        text_before, quoted_keys = self.text, list[str]()
        if _DATE.search(self.block(top)):
            self.change(top, lambda block: quoted_keys.extend(_quote(block, ())))
        if not quoted_keys:
            self.text = text_before
        return quoted_keys

    def _refusal(self, text: str) -> ConfigError:
        return ConfigError(f"{self.name}: {text}", "Fix it, then run: mlops config check")

    def _split(self) -> list[str]:
        return [line if line.endswith("\n") else f"{line}\n" for line in self.text.splitlines(keepends=True)]

    def _lines(self, key: str) -> tuple[int, int]:
        """First line of a top-level block and the line after it; the end of the file if the key does not exist."""
        lines = self.text.splitlines()
        root = yaml.compose(self.text, yaml.SafeLoader)
        starts = [node.start_mark.line for node, _ in root.value] if root else []
        position = next((i for i, (node, _) in enumerate(root.value) if node.value == key), None) if root else None
        if position is None:
            return len(lines), len(lines)
        end = starts[position + 1] if position + 1 < len(starts) else len(lines)
        # comments and blank lines before the next key belong to the next key
        while end > starts[position] + 1 and not lines[end - 1].partition("#")[0].strip():
            end -= 1
        return starts[position], end


def _ruamel() -> Any:
    from ruamel.yaml import YAML

    ruamel = YAML()
    ruamel.preserve_quotes = True
    ruamel.width = 120
    ruamel.indent(mapping=2, sequence=4, offset=2)
    ruamel.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return ruamel


def _mapping() -> Any:
    from ruamel.yaml.comments import CommentedMap

    return CommentedMap()


def ruamel_value(value: Any) -> Any:
    """The value as ruamel.yaml shall write it: mappings with one key per line, lists in brackets."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, dict):
        mapping = CommentedMap({key: ruamel_value(inner) for key, inner in value.items()})
        if not mapping:
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        sequence = CommentedSeq(ruamel_value(inner) for inner in value)
        sequence.fa.set_flow_style()
        return sequence
    return value


def _quote(block: Any, path: tuple[str, ...]) -> list[str]:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    quoted_keys: list[str] = []
    for key, value in list(block.items()) if isinstance(block, dict) else list(enumerate(block)):
        here = (*path, str(key))
        if isinstance(value, date):
            block[key] = DoubleQuotedScalarString(value.isoformat())
            quoted_keys.append(".".join(here))
        elif isinstance(value, dict | list):
            quoted_keys.extend(_quote(value, here))
    return quoted_keys
