"""YAML that is small and asks for much: it is refused before it is written out, and never ends in a traceback."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.config.load import check_project
from mlops_cli.config.yaml_files import MOST_CHARACTERS, UnreadableYaml, parse_yaml, read_yaml
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import make_project


def ladder(step: str, first: str, rungs: int) -> str:
    """Lines `a0: &a0 <first>`, `a1: &a1 <step with ten times a0>` and so on."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {step.format(', '.join([f'*a{n - 1}'] * 10))}" for n in range(1, rungs)]
    return "\n".join(lines)


NUMBERS = range(1, 2000)
BOMBS = {
    "merge keys": (ladder("{{<<: [{}]}}", "{x: 1, y: 2}", 9), "values with its aliases written out"),
    "merge keys with keys of their own": (ladder("{{k: 1, <<: [{}]}}", "{x: 1}", 9), "values with its aliases"),
    "aliases": (ladder("[{}]", "[x]", 10), "values with its aliases written out"),
    "wide merges": (
        "a: &a {" + ", ".join(f"x{n}: 1" for n in NUMBERS) + "}\n" + "".join(f"b{n}: {{<<: *a}}\n" for n in NUMBERS),
        "values with its aliases",
    ),
    "a chain of aliases": ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in NUMBERS), "levels with"),
    "nested lists": ("[" * 20_000 + "]" * 20_000, "more than 100 levels"),
    "nested mappings": ("{a: " * 20_000, "more than 100 levels"),
    "nested block lists": ("- " * 20_000 + "x", "more than 100 levels"),
    "nested keys": ("? " * 20_000, "more than 100 levels"),
    "many tickers": ("t: [" + ", ".join(f"A{n}" for n in range(1_500_000)) + "]", "more than 1,000,000 characters"),
    "a long number": ("a: " + "9" * 5_000, "a number of 5,000 digits"),
    "a long hexadecimal number": ("a: 0x" + "f" * 5_000, "digits"),
    "an alias inside its own value": ("a: &a [*a]", "recursive"),
    "a day that is none": ("!!timestamp 2001-99-99", "does not fit its tag"),
    "a number that is none": ("!!int x", "does not fit its tag"),
    "a program": ("!!python/object/apply:os.system ['id']", "could not determine a constructor"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_it_is_refused_in_a_second(name):
    text, words = BOMBS[name]
    start = time.process_time()
    with pytest.raises(UnreadableYaml, match=words):
        parse_yaml(text)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("place", ["params.yaml", "configs/x.yaml", "configs/base.yaml", "simulation/demo.yaml"])
@pytest.mark.parametrize("name", ["merge keys", "nested lists", "a long number", "many tickers"])
def test_config_check_names_the_file(tmp_path, place, name):
    project = make_project(tmp_path)
    path = project.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(BOMBS[name][0])
    with pytest.raises(ConfigError, match=place) as raised:
        check_project(project)
    assert raised.value.exit_code == 3


def test_a_file_without_end_is_not_read_whole():
    with pytest.raises(UnreadableYaml, match="no regular file"):
        read_yaml(Path("/dev/zero"))


@pytest.mark.parametrize(
    "text",
    [
        "tickers: [" + ", ".join(f"A{n}" for n in range(10_000)) + "]",
        ladder("[{}]", "[x]", 5),
        "a: &a {x: 1}\n" + "".join(f"b{n}: {{<<: *a, y: {n}}}\n" for n in range(1000)),
        "[" * 100 + "]" * 100,
        "a: " + "9" * 100,
    ],
)
def test_what_is_large_and_honest_is_read(text):
    assert parse_yaml(text)


def test_a_merge_into_itself_and_shared_values_are_what_they_were():
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: {<<: [*a], x: 3}") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 3},
    }  # fmt: skip


def test_a_hundred_thousand_mistakes_are_told_in_a_second(tmp_path):
    project = make_project(tmp_path)
    tickers = ", ".join(f"A{n}!" for n in range(100_000))
    (project.configs / "x.yaml").parent.mkdir(exist_ok=True)
    (project.configs / "x.yaml").write_text(f"team: x\ntickers: [{tickers}]\n")
    start = time.process_time()
    with pytest.raises(ConfigError, match=r"A0!.*\n(.*\n)+and \d+ more"):
        check_project(project)
    assert time.process_time() - start < 6, "most of it is reading the file"


@given(st.text(alphabet=st.sampled_from("&*<>[]{}:,-?!|#'\"%@ \nab01"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_document_or_refused(text):
    with contextlib.suppress(UnreadableYaml):
        parse_yaml(text)


def test_the_limit_of_characters_itself_is_taken():
    assert parse_yaml("#" * MOST_CHARACTERS) is None
    with pytest.raises(UnreadableYaml, match="divide it"):
        parse_yaml("#" * (MOST_CHARACTERS + 1))
