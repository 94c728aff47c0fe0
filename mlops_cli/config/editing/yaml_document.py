"""A YAML file under edit: only the top-level block that changes is written anew, all else stays byte for byte.

ruamel keeps comments, but ties those between two keys to the end of the upper one, and loses them with it. So each
block is cut out of the text first, edited alone, and put back.
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


class Document:
    """The text of a YAML mapping, and edits of it.

    Args:
        text: the file's text; may be empty.
        name: the file's name, for messages.

    Raises:
        ConfigError: it is no YAML, or no mapping.
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
        """The value at a path of keys; None if there is none."""
        value: Any = self.data
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def put(self, path: Sequence[str], value: Any) -> None:
        """Set the value at a path of keys; mappings on the way are made.

        Raises:
            ConfigError: something on the way is no mapping.
        """

        def change(block: Any) -> None:
            for depth, key in enumerate(path[:-1]):
                block = block[key] if block.get(key) is not None else block.setdefault(key, _mapping())
                if not isinstance(block, dict):
                    raise self._refusal(f"{'.'.join(path[: depth + 1])} is no mapping, it takes no {path[depth + 1]}")
                if not block:
                    block.fa.set_block_style()  # type: ignore[attr-defined]  # ruamel's own mapping
            block[path[-1]] = styled(value)

        self.change(path[0], change)

    def change(self, key: str, edit: Callable[[Any], None]) -> None:
        """Let `edit` work on the mapping `{key: ...}` of one top-level key, comments and all; {} if it is new.

        Raises:
            ConfigError: the block cannot be read or written on its own.
        """
        from ruamel.yaml.error import YAMLError

        if self.text.lstrip().startswith("{"):
            raise self._refusal("to be edited it must be written as one key a line, not as {key: value}")
        ruamel, out = _ruamel(), io.StringIO()
        try:
            block = ruamel.load(self.block(key)) or _mapping()
            edit(block)
            ruamel.dump(block, out)
            # ruamel leaves a space where it breaks a list into lines
            self.replace(key, re.sub(r" +$", "", out.getvalue(), flags=re.MULTILINE))
        except (YAMLError, UnreadableYaml) as error:
            raise self._refusal(f"{key} cannot be changed on its own, change it by hand ({error})") from error

    def block(self, key: str) -> str:
        """The text of one top-level block; empty if there is none."""
        start, end = self._lines(key)
        return "".join(self._split()[start:end])

    def replace(self, key: str, block: str) -> None:
        """Put another text in the place of one top-level block, or at the end if there is none."""
        start, end = self._lines(key)
        lines = self._split()
        self.text = "".join([*lines[:start], block, *lines[end:]])
        self.data = parse_yaml(self.text)

    def quote_dates(self) -> list[str]:
        """Put bare dates in quotes, which DVC cannot read otherwise; returns the dotted keys."""
        return [key for top in list(self.data) for key in self._quote_block(top)]

    def _quote_block(self, top: str) -> list[str]:
        before, found = self.text, list[str]()
        if _DATE.search(self.block(top)):
            self.change(top, lambda block: found.extend(_quote(block, ())))
        if not found:
            self.text = before
        return found

    def _refusal(self, text: str) -> ConfigError:
        return ConfigError(f"{self.name}: {text}", "mend it, then look with: mlops config check")

    def _split(self) -> list[str]:
        return [line if line.endswith("\n") else f"{line}\n" for line in self.text.splitlines(keepends=True)]

    def _lines(self, key: str) -> tuple[int, int]:
        """First line of a top-level block and the line after its last; the end of the file if there is none."""
        lines = self.text.splitlines()
        root = yaml.compose(self.text, yaml.SafeLoader)
        starts = [node.start_mark.line for node, _ in root.value] if root else []
        found = next((i for i, (node, _) in enumerate(root.value) if node.value == key), None) if root else None
        if found is None:
            return len(lines), len(lines)
        end = starts[found + 1] if found + 1 < len(starts) else len(lines)
        # comments and blank lines before the next key belong to that
        while end > starts[found] + 1 and not lines[end - 1].partition("#")[0].strip():
            end -= 1
        return starts[found], end


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


def styled(value: Any) -> Any:
    """The value as ruamel writes it our way: mappings one key a line, lists of words in brackets."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, dict):
        mapping = CommentedMap({key: styled(inner) for key, inner in value.items()})
        if not mapping:
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        sequence = CommentedSeq(styled(inner) for inner in value)
        sequence.fa.set_flow_style()
        return sequence
    return value


def _quote(block: Any, path: tuple[str, ...]) -> list[str]:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    found: list[str] = []
    for key, value in list(block.items()) if isinstance(block, dict) else list(enumerate(block)):
        here = (*path, str(key))
        if isinstance(value, date):
            block[key] = DoubleQuotedScalarString(value.isoformat())
            found.append(".".join(here))
        elif isinstance(value, dict | list):
            found.extend(_quote(value, here))
    return found
