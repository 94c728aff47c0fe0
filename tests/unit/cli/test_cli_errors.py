"""The error tree: one exit code per class, and failures that come back as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli import errors
from mlops_cli.cli.boundary import OperatingSystemError
from mlops_cli.errors import MlopsError, bounded, error_with

CODES = {
    errors.ConfigError: 3,
    errors.DataError: 4,
    errors.TrainingError: 5,
    errors.ModelError: 6,
    errors.BrokerError: 7,
    errors.ServiceError: 8,
}


def test_every_class_has_its_own_exit_code() -> None:
    own = [cls for cls in MlopsError.__subclasses__() if cls.__module__ == errors.__name__]
    assert {cls: cls.exit_code for cls in own} == CODES
    assert len(set(CODES.values())) == len(CODES)
    assert set(CODES.values()).isdisjoint({0, 1, 2, errors.EXIT_SOME_FAILED, errors.EXIT_GATE_FAILED})


@pytest.mark.parametrize(("cls", "code"), CODES.items())
def test_a_code_gives_its_class_back(cls: type[MlopsError], code: int) -> None:
    error = error_with(code, "what", "do this")
    assert type(error) is cls
    assert (error.message, error.hint) == ("what", "do this")


def test_a_code_that_two_classes_share_gives_the_one_of_the_tree() -> None:
    assert OperatingSystemError.exit_code == 8
    assert type(error_with(8, "what")) is errors.ServiceError


@pytest.mark.parametrize("code", [0, 1, 2, 9, 10, 130, -9])
def test_an_unknown_code_gives_a_plain_error(code: int) -> None:
    error = error_with(code, "killed")
    assert type(error) is MlopsError
    assert error.exit_code == 1


def test_the_text_of_an_error_has_the_hint_on_its_own_line() -> None:
    assert str(errors.ConfigError("what", "do this")) == "what\ndo this"
    assert str(errors.ConfigError("what")) == "what"


@pytest.mark.parametrize(
    ("items", "limit", "text"),
    [
        ([], 5, ""),
        (["a"], 5, "a"),
        (["a", "b"], 2, "a, b"),
        (["a", "b", "c"], 2, "a, b and 1 more"),
    ],
)
def test_a_list_is_cut_at_its_limit(items: list[str], limit: int, text: str) -> None:
    assert bounded(items, limit) == text


@given(st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True)), st.integers(1, 8))
def test_shown_and_left_out_are_all(items: list[str], limit: int) -> None:
    text, _, rest = bounded(items, limit).partition(" and ")
    shown = text.split(", ") if text else []
    assert shown == items[:limit]
    assert len(shown) + int(rest.removesuffix(" more") or 0) == len(items)
