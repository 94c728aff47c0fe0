"""Training processes settle how they compute, whatever the environment they are started in says."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mlops_cli.training.process_settings import ARITHMETIC, DROPPED, PROCESS_SETTINGS, settle_arithmetic


@pytest.fixture(autouse=True)
def environment() -> Iterator[dict[str, str]]:
    """The environment before the test, to which it is brought back."""
    before = dict(os.environ)
    yield before
    os.environ.clear()
    os.environ.update(before)


def test_the_environment_does_not_undo_it():
    os.environ.update(dict.fromkeys((*ARITHMETIC, *DROPPED), "something else"))
    settle_arithmetic()
    assert {name: os.environ[name] for name in ARITHMETIC} == ARITHMETIC
    assert not [name for name in DROPPED if name in os.environ]


def test_nothing_else_is_touched(environment: dict[str, str]):
    settle_arithmetic()
    others = {name: value for name, value in environment.items() if name not in (*ARITHMETIC, *DROPPED)}
    changing = {"PYTEST_CURRENT_TEST"}  # between the fixture and the test
    assert {name: value for name, value in os.environ.items() if name not in changing} == {
        **{name: value for name, value in others.items() if name not in changing},
        **ARITHMETIC,
    }


def test_processes_are_started_with_it():
    assert PROCESS_SETTINGS.items() >= ARITHMETIC.items()
    assert all(isinstance(value, str) for value in PROCESS_SETTINGS.values())
