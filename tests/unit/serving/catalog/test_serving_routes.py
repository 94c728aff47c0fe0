"""Traffic splits: shares, sticky callers, and sides that do not exist."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.serving.catalog.catalog import Route, route, version_for_role
from tests.fakes.served_catalogs import version

VERSIONS = [version("new"), version("old"), version("older")]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5).filter(lambda weights: sum(weights) > 0.01))
def test_shares_are_exact_to_a_few_requests_without_callers(weights: list[float]) -> None:
    versions = [version(str(number)) for number in range(len(weights))]
    split = Route("m", list(zip(versions, weights, strict=True)))
    counts = Counter(split.pick(None).version for _ in range(500))
    for served, weight in zip(versions, weights, strict=True):
        assert abs(counts[served.version] - 500 * weight / sum(weights)) <= 8


@given(st.text(max_size=20), st.floats(0.01, 0.99))
def test_a_caller_always_gets_the_same_side(caller: str, share: float) -> None:
    splits = [Route("m", [(VERSIONS[0], share), (VERSIONS[1], 1 - share)]) for _ in range(2)]
    assert len({split.pick(caller).version for split in splits for _ in range(3)}) == 1


def test_two_models_split_the_same_callers_differently() -> None:
    shares = [(VERSIONS[0], 0.5), (VERSIONS[1], 0.5)]
    first, second = Route("m", shares), Route("n", shares)
    same = sum(first.pick(str(n)).version == second.pick(str(n)).version for n in range(1000))
    assert 400 < same < 600


def test_a_version_with_weight_zero_gets_no_request() -> None:
    split = route("m", {"champion": 1.0, "challenger": 0.0}, VERSIONS, "old")
    assert split is not None
    assert [served.version for served in split.versions] == ["old"]


def test_both_names_of_a_version_add_their_shares() -> None:
    split = route("m", {"champion": 0.25, "old": 0.25, "new": 0.5}, VERSIONS, "old")
    assert split is not None
    counts = Counter(split.pick(None).version for _ in range(100))
    assert abs(counts["old"] - 50) <= 1


@pytest.mark.parametrize("weights", [{}, {"champion": 0.0}, {"gone": 0.0, "champion": 0.0}])
def test_no_positive_weight_is_no_split(weights: dict[str, float]) -> None:
    assert route("m", weights, VERSIONS, None) is None


@pytest.mark.parametrize(
    ("key", "champion", "number"),
    [
        ("champion", None, "new"),
        ("champion", "older", "older"),
        ("champion", "gone", "new"),
        ("challenger", "older", "new"),
        ("challenger", None, None),
        ("older", "new", "older"),
        ("gone", "new", None),
        ("", "new", None),
    ],
)
def test_the_version_of_a_side(key: str, champion: str | None, number: str | None) -> None:
    served = version_for_role(key, VERSIONS, champion)
    assert (served.version if served else None) == number
