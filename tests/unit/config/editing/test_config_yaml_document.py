"""Edits of YAML text: what is not touched stays byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.editing.yaml_document import YamlDocument, ruamel_value
from mlops_cli.errors import ConfigError

TEXT = """\
# about seed
seed: 7   # why

# about branches
branches:
  # the first
  main:
    collection: [configs/demo]   # all of it
  # the second
  other: {collection: "x"}

# about period
period: {start: null,   end: ~}
# the end
"""


def test_a_change_touches_its_own_block_alone():
    document = YamlDocument(TEXT, "f")
    document.put(["branches", "third"], {"collection": ["a", "b"], "training": {"shrinkage": 1}})
    before, after = TEXT.splitlines(), document.text.splitlines()
    added = ["  third:", "    collection: [a, b]", "    training:", "      shrinkage: 1"]
    assert after == [*before[:10], *added, *before[10:]]
    assert document.data["branches"]["third"]["training"] == {"shrinkage": 1}


def test_removing_the_last_entry_of_a_block_keeps_what_follows():
    document = YamlDocument(TEXT, "f")
    document.change("branches", lambda block: block["branches"].pop("other"))
    assert document.text.endswith("\n# about period\nperiod: {start: null,   end: ~}\n# the end\n")
    assert list(document.data["branches"]) == ["main"]


def test_comments_on_changed_lines_stay():
    document = YamlDocument(TEXT, "f")
    document.put(["seed"], 8)
    document.put(["branches", "main", "collection"], ["configs/other"])
    assert "seed: 8   # why\n" in document.text
    assert "    collection: [configs/other]" in document.text
    assert "  # the first\n" in document.text


def test_new_keys_go_to_the_end():
    document = YamlDocument("a: 1", "f")
    document.put(["b", "c", "d"], 2)
    document.put(["e"], {})
    assert document.text == "a: 1\nb:\n  c:\n    d: 2\ne: {}\n"
    empty = YamlDocument("", "f")
    empty.put(["a"], [1])
    assert empty.text == "a: [1]\n"


def test_an_empty_mapping_in_braces_is_opened():
    document = YamlDocument("branches: {}\nseed: 1\n", "f")
    document.put(["branches", "main", "collection"], ["x"])
    assert document.text == "branches:\n  main:\n    collection: [x]\nseed: 1\n"


def test_values_that_yaml_would_misread_are_quoted():
    document = YamlDocument("", "f")
    document.put(["a"], ["1398", "true", "2024-01-02", "ON", "1e5", ""])
    assert document.data == {"a": ["1398", "true", "2024-01-02", "ON", "1e5", ""]}


def test_get():
    document = YamlDocument(TEXT, "f")
    assert document.get(["branches", "main", "collection"]) == ["configs/demo"]
    assert document.get(["branches", "none", "collection"]) is None
    assert document.get(["seed", "x"]) is None


def test_block_and_replace():
    ours, theirs = YamlDocument(TEXT, "f"), YamlDocument("branches:\n  a: {collection: b}\n\n# tail\nz: 1\n", "g")
    theirs.replace("branches", ours.block("branches"))
    assert theirs.text == ours.block("branches") + "\n# tail\nz: 1\n"
    assert "# the first" in theirs.text
    assert ours.block("none") == ""


def test_bare_dates_are_put_in_quotes_and_nothing_else():
    text = 'a: {x: 2024-01-02, y: "2024-01-03"}\nb:   [1,   2]\nc:\n  - d: 2024-01-04  # why\n    e: [2024-01-05]\n'
    document = YamlDocument(text, "f")
    assert document.quote_dates() == ["a.x", "c.0.d", "c.0.e.0"]
    assert document.text == (
        'a: {x: "2024-01-02", y: "2024-01-03"}\nb:   [1,   2]\nc:\n  - d: "2024-01-04" # why\n    e: ["2024-01-05"]\n'
    )
    assert document.quote_dates() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "f: line 2"), ("- a", "f: expected a mapping"), ("a: 1\na: 2", "f: line 2: key a is repeated")],
)
def test_what_is_no_mapping_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        YamlDocument(text, "f")


def test_what_cannot_be_edited_is_refused():
    with pytest.raises(ConfigError, match="one key per line"):
        YamlDocument("{a: 1}", "f").put(["a"], 2)
    with pytest.raises(ConfigError, match="a is not a mapping, it has no b"):
        YamlDocument("a: 1", "f").put(["a", "b"], 2)
    with pytest.raises(ConfigError, match="b cannot be edited automatically"):
        YamlDocument("a: &x {c: 1}\nb: *x", "f").change("b", lambda block: block["b"].update(d=2))


NAMES = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.from_regex(r"[A-Za-z0-9 ./*-]{0,12}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), NAMES, VALUES)
def test_what_is_put_is_read_back_and_the_rest_is_as_it_was(data, key, value):
    document = YamlDocument("", "f")
    for name, inner in data.items():
        document.put([name], inner)
    document = YamlDocument(f"# head\n{document.text}# tail\n", "f")
    blocks = {name: document.block(name) for name in data if name != key}
    document.put([key], value)
    assert document.data == {**data, key: value}
    assert {name: document.block(name) for name in blocks} == blocks
    assert document.text.startswith("# head\n")
    assert "# tail\n" in document.text


def test_styled_values_are_plain_values():
    assert ruamel_value({"a": (1, 2), "b": {}}) == {"a": [1, 2], "b": {}}
