"""Pooled models: which are trained together, and their fingerprints."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.models.manifest import Span
from mlops_cli.pipeline.stages.train_plan import Plan, member_mark, pool_mark, trained_together, with_pool_marks
from tests.fakes.train_jobs import model_spec

DAY = date(2016, 1, 4)
SPAN = Span(first=DAY, last=DAY, sessions=1)
MARKS = st.lists(st.text("0123456789abcdef", min_size=4, max_size=4), min_size=1, max_size=6, unique=True)


def pooled(team: str, *tickers: str) -> list[ModelSpec]:
    return [model_spec(f"{team}-{ticker.lower()}", team=team, ticker=ticker, pool=tickers) for ticker in tickers]


def plan(spec: ModelSpec, mark: str) -> Plan:
    return Plan(spec, ("return_1",), mark, SPAN, SPAN, DAY, 0.0)


def names(tasks: list[list[ModelSpec]]) -> list[list[str]]:
    return [[spec.name for spec in specs] for specs in tasks]


def test_a_model_without_a_pool_is_trained_alone() -> None:
    specs = [model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")]
    assert names(trained_together(specs, specs)) == [["red-a"], ["red-b"]]


def test_one_member_asked_for_means_all_members_of_the_branch_once() -> None:
    red, blue = pooled("red", "A", "B", "C"), pooled("blue", "A", "B")
    alone = model_spec("green-a", ticker="A", team="green")
    branch = [*red, alone, *blue]
    assert names(trained_together([red[1], alone], branch)) == [["red-a", "red-b", "red-c"], ["green-a"]]
    assert names(trained_together(branch, branch)) == [["red-a", "red-b", "red-c"], ["green-a"], ["blue-a", "blue-b"]]
    assert trained_together([], branch) == []


def test_members_of_another_pool_stay_out_of_it() -> None:
    red, blue = pooled("red", "A", "B"), pooled("blue", "A", "B")
    assert names(trained_together([blue[0]], [*red, *blue])) == [["blue-a", "blue-b"]]


@given(MARKS, st.randoms())
def test_a_pools_fingerprint_does_not_depend_on_the_order_of_its_members(marks: list[str], random: object) -> None:
    shuffled = list(marks)
    random.shuffle(shuffled)
    assert pool_mark(shuffled) == pool_mark(marks)


@given(MARKS, st.text("0123456789abcdef", min_size=5, max_size=5))
def test_a_change_of_any_member_changes_the_pool(marks: list[str], other: str) -> None:
    assert pool_mark([other, *marks[1:]]) != pool_mark(marks)
    assert pool_mark([other, *marks]) != pool_mark(marks), "a member that joins"
    assert pool_mark(marks[1:]) != pool_mark(marks), "a member that leaves"


def test_members_of_one_pool_have_different_fingerprints() -> None:
    specs = pooled("red", "A", "B")
    plans = [plan(spec, mark) for spec, mark in zip(specs, ("1", "2"), strict=True)]
    marked = with_pool_marks(plans)
    pool = pool_mark(["1", "2"])
    assert [one.mark for one in marked] == [member_mark("1", pool), member_mark("2", pool)]
    assert len({one.mark for one in marked}) == 2
    assert [one.spec for one in marked] == specs
    assert [one.mark for one in plans] == ["1", "2"], "the plans themselves are not changed"


def test_a_pool_without_members_has_no_plans() -> None:
    assert with_pool_marks([]) == []


def test_a_member_alone_is_not_taken_for_a_model_without_a_pool() -> None:
    spec = pooled("red", "A", "B")[0]
    assert with_pool_marks([plan(spec, "1")])[0].mark != "1"
