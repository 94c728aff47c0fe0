"""Models that jobs asked for are a branch of their own, which exists only where there are any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_cli.config.collection import ModelCollection
from mlops_cli.config.load import Branch, load_branches, load_params
from mlops_cli.config.mistakes import Mistakes
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED, requested_specs, store_requested, with_requested
from mlops_cli.config.schemas.project import ModelFile, ModelSpec
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import PARAMS, make_project

RED = {"configs/mine/red.yaml": "team: red\nticker: AAPL\n"}


def specs_of(project: Project, **keys: object) -> list[ModelSpec]:
    parsed = ModelFile.model_validate({"team": "red", **keys})
    return list(ModelCollection(project, Mistakes()).resolve(parsed, "job") or ())


def branches(project: Project) -> dict[str, Branch]:
    params = load_params(project)
    return with_requested(project, params, load_branches(project, params))


def test_without_requested_models_there_is_no_such_branch(tmp_path: Path) -> None:
    project = make_project(tmp_path, RED)
    assert list(branches(project)) == ["main"]
    project.requested.mkdir(parents=True)
    assert list(branches(project)) == ["main"]


def test_a_stored_model_comes_back_as_it_was_asked_for_even_if_the_defaults_changed(tmp_path: Path) -> None:
    project = make_project(tmp_path, RED)
    (spec,) = specs_of(project, ticker="NVDA", ludwig={"combiner": {"output_size": 8}})
    store_requested(project, spec)
    project.base.write_text("features: {returns: [9]}\n")
    (model,) = branches(project)[REQUESTED].models
    assert model == spec.model_copy(update={"file": ".mlops/requested/red-nvda.json"})


def test_the_branch_has_the_settings_of_the_project_not_those_of_another_branch(tmp_path: Path) -> None:
    params = (
        "seed: 3\nsource: {kind: csv}\nsimulation: {scenario: mine}\nserving: {keep_versions: 4}\n"
        "branches: {main: {collection: [configs/mine], seed: 9, period: {end: '2020-01-01'}}}\n"
    )
    project = make_project(tmp_path, RED, params)
    store_requested(project, specs_of(project, ticker="NVDA")[0])
    branch = branches(project)[REQUESTED]
    assert (branch.source.kind, branch.seed, branch.period.end, branch.keep_versions) == ("csv", 3, None, 4)
    assert branches(project)["main"].seed == 9


def test_a_model_that_a_file_of_configs_has_by_now_is_no_longer_a_requested_one(tmp_path: Path) -> None:
    project = make_project(tmp_path, RED)
    store_requested(project, specs_of(project, ticker="AAPL", features={"returns": [1]})[0])
    assert list(branches(project)) == ["main"]
    store_requested(project, specs_of(project, ticker="NVDA")[0])
    assert [spec.name for spec in branches(project)[REQUESTED].models] == ["red-nvda"]


def test_a_small_variant_is_named_only_where_it_is_there(tmp_path: Path) -> None:
    project = make_project(tmp_path, RED)
    large, small = specs_of(project, ticker="NVDA", small={"ludwig": {"combiner": {"output_size": 4}}})
    store_requested(project, large)
    assert branches(project)[REQUESTED].models[0].small is None
    store_requested(project, small)
    assert branches(project)[REQUESTED].models[0].small == small.name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "expected a mapping"),
        ('{"name": "red-nvda"}', "team: is missing"),
        (None, "it holds the model red-amd"),
    ],
)
def test_damaged_files_are_named_all_at_once(tmp_path: Path, text: str | None, says: str) -> None:
    project = make_project(tmp_path, RED)
    for ticker in ("AMD", "INTC", "NVDA"):
        store_requested(project, specs_of(project, ticker=ticker)[0])
    amd = (project.requested / "red-amd.json").read_text()
    (project.requested / "red-nvda.json").write_text(amd if text is None else text)
    (project.requested / "red-intc.json").write_text(json.dumps({**json.loads(amd), "name": "red-intc", "more": 1}))
    with pytest.raises(ConfigError) as error:
        requested_specs(project)
    assert ".mlops/requested/red-nvda.json" in error.value.message
    assert says in error.value.message
    assert ".mlops/requested/red-intc.json: more: unknown key" in error.value.message
    assert "red-amd.json" not in error.value.message


def test_what_a_killed_process_left_is_no_model(tmp_path: Path) -> None:
    project = make_project(tmp_path, RED)
    project.requested.mkdir(parents=True)
    (project.requested / ".red-nvda.json.1234.part").write_text("{")
    assert requested_specs(project) == []


def test_a_branch_of_that_name_in_params_is_refused_once_there_are_such_models(tmp_path: Path) -> None:
    project = make_project(tmp_path, RED, PARAMS.replace("main", REQUESTED))
    assert list(branches(project)) == [REQUESTED]
    store_requested(project, specs_of(project, ticker="NVDA")[0])
    with pytest.raises(ConfigError, match=r"branches\.requested"):
        branches(project)
