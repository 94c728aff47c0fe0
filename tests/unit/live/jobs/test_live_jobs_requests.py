from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.load import load_branch, load_params
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.live.jobs.job import JobRequest
from mlops_cli.live.jobs.job_requests import MOST_MODELS, job_request, requested_models
from tests.fakes.config_projects import make_project

DATA = "2024-01-05"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("project"), {"configs/mine/red.yaml": "team: red\nticker: AAPL\n"})


def job_requests(project: Project, team: str, body: Any, data: str) -> list[JobRequest]:
    return [job_request(spec, data) for spec in requested_models(project, team, body)]


def mistakes(project: Project, body: Any, team: str = "red") -> str:
    with pytest.raises(ConfigError) as error:
        job_requests(project, team, body, DATA)
    return error.value.message


def test_a_ticker_gives_the_model_that_the_same_config_file_gives(project: Project) -> None:
    (request,) = job_requests(project, "red", {"ticker": "aapl"}, DATA)
    (model,) = load_branch(project, load_params(project), "main").models
    assert (request.team, request.model, request.data) == ("red", "red-aapl", DATA)
    spec = json.loads(request.spec)
    assert {**spec, "file": ""} == {**model.model_dump(mode="json"), "file": ""}


def test_a_whole_config_is_taken(project: Project) -> None:
    body = {
        "team": "red",
        "tickers": ["AAPL", "MSFT"],
        "suffix": "wide",
        "features": {"returns": [1, 5]},
        "ludwig": {
            "combiner": {"type": "concat", "output_size": 64},
            "trainer": {"epochs": 20, "learning_rate": 0.001},
        },
    }
    requests = job_requests(project, "red", body, DATA)
    assert [request.model for request in requests] == ["red-aapl-wide", "red-msft-wide"]
    assert len({request.architecture for request in requests}) == 1
    assert json.loads(requests[0].spec)["ludwig"]["combiner"]["output_size"] == 64


def test_a_small_variant_is_a_job_of_its_own(project: Project) -> None:
    body = {"ticker": "AAPL", "small": {"ludwig": {"combiner": {"output_size": 4}}}}
    requests = job_requests(project, "red", body, DATA)
    assert [request.model for request in requests] == ["red-aapl", "red-aapl-small"]


def test_the_key_depends_on_what_is_learnt_and_on_the_data(project: Project) -> None:
    def key(team: str = "red", data: str = DATA, **body: Any) -> str:
        return job_requests(project, team, {"ticker": "AAPL", **body}, data)[0].fingerprint

    others = [key("blue"), key(data="2024-01-08"), key(ludwig={"trainer": {"epochs": 3}}), key(target="close")]
    assert len({key(), *others}) == 5
    assert key() == key(features="standard")  # the default, written out


def test_models_that_differ_in_ticker_or_team_share_an_architecture(project: Project) -> None:
    def architecture(team: str = "red", **body: Any) -> str:
        return job_requests(project, team, {"ticker": "AAPL", **body}, DATA)[0].architecture

    assert architecture() == architecture("blue") == architecture(ticker="MSFT") == architecture(base="none")
    others = [architecture(ludwig={"combiner": {"output_size": 3}}), architecture(features={"returns": [1]})]
    assert len({architecture(), *others, architecture(trainer="naive"), architecture(target="close")}) == 5


def test_a_request_speaks_for_its_own_team_only(project: Project) -> None:
    assert mistakes(project, {"team": "blue", "ticker": "AAPL"}) == (
        "job: team: was 'blue', but the request comes from team red"
    )


@pytest.mark.parametrize(
    ("ludwig", "place"),
    [
        ({"combiner": {"type": "/etc/passwd"}}, "combiner.type"),
        ({"combiner": {"type": "..\\up"}}, "combiner.type"),
        ({"trainer": {"optimizer": {"type": "~root"}}}, "trainer.optimizer.type"),
        ({"trainer": {"optimizer": {"type": "$HOME"}}}, "trainer.optimizer.type"),
        (
            {"input_features": [{"name": "x", "encoder": {"type": "https://example.org/x"}}]},
            "input_features.0.encoder.type",
        ),
        (
            {"defaults": {"category": {"encoder": {"pretrained_embeddings": "glove.txt"}}}},
            "encoder.pretrained_embeddings",
        ),
        ({"input_features": [{"name": "x", "preprocessing": {"vocab_file": "v"}}]}, "preprocessing.vocab_file"),
        (
            {"defaults": {"text": {"encoder": {"pretrained_model_name_or_path": "bert"}}}},
            "pretrained_model_name_or_path",
        ),
        ({"defaults": {"image": {"encoder": {"use_pretrained": True}}}}, "use_pretrained"),
        ({"defaults": {"text": {"encoder": {"trust_remote_code": True}}}}, "trust_remote_code"),
        ({"backend": {"type": "ray"}}, "ludwig.backend"),
        ({"hyperopt": {}}, "ludwig.hyperopt"),
        ({"base_model": "llama"}, "ludwig.base_model"),
        ({"generation": {"x": 1}}, "ludwig.generation"),
        ({"model_type": "llm"}, "ludwig.model_type"),
        ({"preprocessing": {"cache_dir": "x"}}, "preprocessing.cache_dir"),
    ],
)
@pytest.mark.parametrize("small", [False, True])
def test_a_config_that_reaches_outside_of_the_project_is_refused(
    project: Project, ludwig: dict[str, Any], place: str, small: bool
) -> None:
    body = {"ticker": "AAPL", "small": {"ludwig": ludwig}} if small else {"ticker": "AAPL", "ludwig": ludwig}
    assert place in mistakes(project, body)


@pytest.mark.parametrize("value", [None, False])
def test_what_is_switched_off_reaches_nowhere(project: Project, value: Any) -> None:
    ludwig = {
        "defaults": {"category": {"encoder": {"pretrained_embeddings": value}}},
        "trainer": {"steps_per_checkpoint": 5},
    }
    assert job_requests(project, "red", {"ticker": "AAPL", "ludwig": ludwig}, DATA)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"ticker": "../../etc"}, "ticker: expected a ticker"),
        ({"ticker": "AAPL", "suffix": "../x"}, "suffix: expected a name"),
        ({"ticker": "AAPL", "features": "nothing"}, "no feature set 'nothing'"),
        ({"ticker": "AAPL", "folder": "x"}, "folder: unknown key"),
        ({"ticker": "AAPL", "ludwig": "x"}, "ludwig: expected"),
        ({"tickers": ["AAPL", "MSFT"], "pool": True}, "pool: a job trains one model"),
        ({"tickers": [f"T{number}" for number in range(MOST_MODELS + 1)]}, "tickers: 1001 tickers, at most 1000"),
        ({}, "give either ticker"),
        (None, "expected a mapping"),
        ([{"ticker": "AAPL"}], "expected a mapping"),
        ("AAPL", "expected a mapping"),
        (
            {"ticker": "AAPL", "ludwig": {"trainer": {"epochs": float("inf")}}},
            "trainer.epochs: expected a finite number",
        ),
        ({"ticker": "AAPL", "ludwig": {"trainer": {"epochs": 2**63}}}, "expected a number below 2^63"),
        ({"ticker": "AAPL", "ludwig": {"combiner": {"type": "x" * 1001}}}, "expected at most 1000 characters"),
        ({"ticker": "AAPL", "ludwig": {"combiner": {"x" * 1001: 1}}}, "expected keys of at most 1000 characters"),
        (
            {"ticker": "AAPL", "ludwig": {"trainer": {"epochs": date(2024, 1, 5)}}},
            "expected a value of JSON, was a date",
        ),
        ({"ticker": "AAPL", "ludwig": {"trainer": {"sizes": [1] * 30_000}}}, "more than 20,000 values"),
    ],
)
def test_mistakes_are_told(project: Project, body: Any, words: str) -> None:
    assert words in mistakes(project, body)


def test_a_deep_nesting_is_refused_without_recursion(project: Project) -> None:
    body: Any = {"ticker": "AAPL"}
    for _ in range(100_000):
        body = {"ticker": "AAPL", "ludwig": body}
    assert "more than 20 levels deep" in mistakes(project, body)
    while body:  # taken apart here, since Python frees nested mappings by recursion
        body = body.pop("ludwig", None)


def test_a_mistake_in_the_projects_own_defaults_is_told(tmp_path: Path) -> None:
    broken = make_project(tmp_path, {"configs/base.yaml": "trainer: magic\n"})
    assert "configs/base.yaml: trainer" in mistakes(broken, {"ticker": "AAPL"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(ludwig=JSON, extra=JSON)
def test_anything_that_json_can_hold_is_taken_or_refused(project: Project, ludwig: Any, extra: Any) -> None:
    for body in (ludwig, {"ticker": "AAPL", "ludwig": {"combiner": ludwig}}, {"ticker": extra, "ludwig": ludwig}):
        with suppress(ConfigError):
            requests = job_requests(project, "red", body, DATA)
            assert all(json.loads(request.spec)["team"] == "red" for request in requests)
