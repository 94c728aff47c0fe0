"""`small:` in a model file: a further model, as the full one but for what is said there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.config.load import load_branch, load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import ConfigError
from mlops_cli.pipeline.stages.train_plan import group_of
from tests.fakes.config_projects import PARAMS, make_project

RED = "team: red\ntickers: [AAPL, IBM]\n"
SMALL = "small: {features: small, ludwig: {combiner: {output_size: 8}}}\n"


def models(project: Project) -> dict[str, ModelSpec]:
    return {model.name: model for model in load_branch(project, load_params(project), "main").models}


def of_file(root: Path, text: str, params: str = PARAMS) -> dict[str, ModelSpec]:
    return models(make_project(root, {"configs/mine/red.yaml": text}, params))


def test_each_ticker_gets_a_small_variant_of_the_same_model(tmp_path: Path):
    found = of_file(tmp_path, RED + SMALL)
    assert list(found) == ["red-aapl", "red-aapl-small", "red-ibm", "red-ibm-small"]
    full, small = found["red-aapl"], found["red-aapl-small"]
    assert (full.small, full.small_of) == ("red-aapl-small", None)
    assert (small.small, small.small_of) == (None, "red-aapl")
    assert small.features.returns == (1, 5, 21)
    assert small.features.rsi == ()
    assert small.ludwig["combiner"] == {**full.ludwig["combiner"], "output_size": 8}
    same = ("team", "ticker", "exchange", "trainer", "target", "file")
    assert [getattr(small, key) for key in same] == [getattr(full, key) for key in same]


def test_the_full_model_is_the_same_with_and_without(tmp_path: Path):
    alone, beside = of_file(tmp_path / "a", RED)["red-ibm"], of_file(tmp_path / "b", RED + SMALL)["red-ibm"]
    assert beside.model_copy(update={"small": None}) == alone
    assert group_of(beside) == group_of(alone)


def test_full_models_share_one_group_and_small_ones_another(tmp_path: Path):
    found = of_file(tmp_path, RED + SMALL)
    groups = {name: group_of(model) for name, model in found.items()}
    assert groups["red-aapl"] == groups["red-ibm"] != groups["red-aapl-small"] == groups["red-ibm-small"]


def test_a_baseline_may_be_the_small_one_of_a_pool(tmp_path: Path):
    found = of_file(tmp_path, RED + "pool: true\nsuffix: pool\nsmall: {trainer: naive}\n")
    assert found["red-aapl-pool"].pool == ("AAPL", "IBM")
    assert (found["red-aapl-pool-small"].trainer, found["red-aapl-pool-small"].pool) == ("naive", ())


def test_the_small_variant_goes_with_its_model(tmp_path: Path):
    only = PARAMS.replace("[configs/mine]", "[configs/mine], only: [red-ibm]")
    assert list(of_file(tmp_path / "a", RED + SMALL, only)) == ["red-ibm", "red-ibm-small"]
    out = PARAMS.replace("[configs/mine]", "[configs/mine], exclude: [red-ibm]")
    assert list(of_file(tmp_path / "b", RED + SMALL, out)) == ["red-aapl", "red-aapl-small"]


def test_a_small_variant_that_is_left_out_is_not_named(tmp_path: Path):
    out = PARAMS.replace("[configs/mine]", "[configs/mine], exclude: ['*-small']")
    found = of_file(tmp_path, RED + SMALL, out)
    assert {name: model.small for name, model in found.items()} == {"red-aapl": None, "red-ibm": None}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("small: {}\n", "small: say what differs, e.g. small: {ludwig:"),
        ("small: {features: smal}\n", "small.features: no feature set 'smal' in configs/base.yaml, did you mean small"),
        ("small: {trainer: drfit}\n", "small.trainer: expected ludwig, naive or drift"),
        ("small: {target: close}\n", "small.target: "),
        (f"suffix: {'a' * 52}\nsmall: {{trainer: naive}}\n", "-small, longer than 64 characters"),
    ],
)
def test_mistakes_say_where(tmp_path: Path, text: str, mistake: str):
    with pytest.raises(ConfigError) as raised:
        of_file(tmp_path, RED + text)
    assert raised.value.message.startswith("configs/mine/red.yaml")
    assert mistake in raised.value.message
