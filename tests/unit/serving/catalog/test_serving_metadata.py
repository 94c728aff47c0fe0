"""Versions, descriptions, tickers and the repository index of a catalog."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from mlops_cli.models.shared.weight_files import WeightFiles
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.catalog.metadata import checked_ensemble, describe, index, models_of, version_of
from mlops_cli.serving.contract.messages import IndexEntry, UnknownModelError, UnservableError
from tests.fakes.served_catalogs import catalog, ensemble, model

BROKEN = (IndexEntry("broken", "9", "QUARANTINED", "it is damaged"),)
RED = model("red-acme", "2", "1", verdicts={"1": "skill"})
BLUE = model("blue-acme", "3", team="blue", inputs=("c",), trained_until=date(2021, 5, 6))
OTHER = model("red-other", "4", ticker="Other")
ALL = catalog(
    [RED, BLUE, OTHER, model("broken", quarantined=BROKEN)],
    [ensemble("both", (RED, 0.5), (BLUE, 0.5)), ensemble("none", reason="no models")],
)


def test_the_default_version_answers_where_none_is_named() -> None:
    assert version_of(RED).version == "2"
    assert version_of(RED, "1").version == "1"


def test_an_unknown_version_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownModelError, match="no version '7'") as caught:
        version_of(RED, "7")
    assert caught.value.hint == "there are: 2, 1"


def test_a_quarantined_version_is_refused_with_its_reason() -> None:
    served = model("red-acme", "2", quarantined=BROKEN)
    for number in (None, "9"):
        with pytest.raises(UnservableError, match="it is damaged"):
            version_of(model("broken", quarantined=BROKEN), number)
    with pytest.raises(UnservableError, match="it is damaged"):
        version_of(served, "9")
    assert version_of(served).version == "2"
    with pytest.raises(UnknownModelError):
        version_of(served, "8")


def test_facts_are_of_the_version_and_a_verdict_of_no_other() -> None:
    facts = describe(ALL, "red-acme", "1")
    assert (facts.versions, facts.inputs, facts.ticker, facts.team) == (("2", "1"), ("a", "b"), "ACME", "red")
    assert (facts.verdict, facts.shrinkage) == ("skill", 0.5)
    assert describe(ALL, "red-acme").verdict is None


def test_facts_of_an_ensemble_join_its_members() -> None:
    facts = describe(ALL, "both")
    assert (facts.inputs, facts.team, facts.ticker) == (("a", "b", "c"), "ensemble", "ACME")
    assert (facts.trained_until, facts.shrinkage, facts.verdict) == (date(2021, 5, 6), 1.0, None)
    assert describe(ALL, "both", facts.versions[0]) == facts
    with pytest.raises(UnknownModelError, match="no version"):
        describe(ALL, "both", "7")
    with pytest.raises(UnservableError, match="no models"):
        describe(ALL, "none")
    with pytest.raises(UnknownModelError, match="no model 'x' is served"):
        describe(ALL, "x")


def test_an_ensemble_with_any_version_asked_for_gives_its_own() -> None:
    both = ALL.ensembles["both"]
    assert checked_ensemble(both, None) == checked_ensemble(both, checked_ensemble(both, None))


@pytest.mark.parametrize(
    ("ticker", "names"),
    [("acme", ["blue-acme", "both", "red-acme"]), ("OTHER", ["red-other"]), ("oTHer", ["red-other"])],
)
def test_models_of_a_ticker_in_any_case(ticker: str, names: list[str]) -> None:
    assert models_of(ALL, ticker) == names


@pytest.mark.parametrize("ticker", ["NONE", "", "ACME ", "*", "A" * 1000])
def test_a_ticker_without_models_is_refused_in_few_words(ticker: str) -> None:
    with pytest.raises(UnknownModelError, match="no model of ticker") as caught:
        models_of(ALL, ticker)
    assert len(caught.value.message) < 100


def test_the_index_has_every_version_with_its_state(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        loaded = LoadedModels(WeightFiles(tmp_path), 10**9, executor)
        loaded.failures["sha-of-4"] = "half of a file"
        entries = index(ALL, loaded, {"blue-acme"})
    states = {(entry.name, entry.version): (entry.state, entry.reason) for entry in entries if entry.name != "both"}
    assert states == {
        ("blue-acme", "3"): ("UNAVAILABLE", "unloaded by request"),
        ("broken", "9"): ("QUARANTINED", "it is damaged"),
        ("none", ""): ("QUARANTINED", "no models"),
        ("red-acme", "2"): ("UNAVAILABLE", ""),
        ("red-acme", "1"): ("UNAVAILABLE", ""),
        ("red-other", "4"): ("QUARANTINED", "half of a file"),
    }
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert [entry.state for entry in entries if entry.name == "both"] == ["READY"]


def test_a_name_of_several_branches_is_refused_with_the_names_to_use() -> None:
    shared = catalog([model("a/m", "1", branch="a", slug="m"), model("b/m", "2", branch="b", slug="m")])
    shared.ambiguous_names["m"] = ["a/m", "b/m"]
    with pytest.raises(UnknownModelError, match="several branches") as caught:
        shared.model("m")
    assert caught.value.hint == "ask for one of: a/m, b/m"
    assert shared.model("b/m").key == ("b", "m")
    assert shared.names() == ["a/m", "b/m"]


def test_a_long_name_is_cut_in_the_message() -> None:
    assert len(ALL.unknown("x" * 10_000).message) < 200
