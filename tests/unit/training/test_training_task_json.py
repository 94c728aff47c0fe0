"""Tasks go to training processes as one line of text, results come back, and both arrive unchanged."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import FeatureSpec, Macd
from mlops_cli.training.tasks import FleetSettings, Task, result_from_json, result_to_json, task_from_json, task_to_json
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.train_jobs import model_spec

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
paths = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
jobs = st.builds(
    TrainJob,
    spec=st.builds(
        model_spec,
        features=st.just(
            FeatureSpec(returns=(1, 5), macd=Macd(fast=3, slow=6, signal=2), calendar=("month",), history=9)
        ),
        target=st.sampled_from(["log_return", "close"]),
        ludwig=st.dictionaries(st.text(max_size=8), values, max_size=4),
        file=st.text(max_size=20),
    ),
    features=paths.map(lambda name: Path("/data") / name),
    inputs=st.lists(st.text(max_size=10), max_size=5).map(tuple),
    validation_start=st.dates(),
    end=st.dates(),
    seed=st.integers(0, 2**31 - 1),
    folder=paths.map(lambda name: Path("/models") / name),
)


job_settings = st.builds(
    FleetSettings,
    together=st.booleans(),
    device=st.sampled_from(["cpu", "cuda"]),
    bf16=st.booleans(),
    median_stopping=st.none() | st.integers(1, 50),
)
tasks = st.builds(
    Task,
    jobs=st.lists(jobs, min_size=1, max_size=3).map(tuple),
    settings=job_settings,
    seconds=st.floats(0, 1e6),
)


def task_of(ludwig: dict[str, object]) -> Task:
    job = TrainJob(model_spec(ludwig=ludwig), Path("/x"), (), date(2020, 1, 2), date(2021, 1, 2), 7, Path("/y"))
    return Task((job,), FleetSettings(), 1.0)


@given(tasks)
@settings(max_examples=40)
def test_a_task_arrives_as_it_was_sent_in_one_line(task: Task):
    line = task_to_json(task)
    assert "\n" not in line
    assert line.isascii()
    assert task_from_json(line + "\n") == task


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_infinity_and_nan_of_a_config_arrive(number: float):
    task = task_of({"trainer": {"learning_rate": number, "list": [number]}})
    arrived = task_from_json(task_to_json(task))
    assert repr(arrived.jobs[0].spec.ludwig) == repr(task.jobs[0].spec.ludwig)


def test_a_date_that_yaml_made_arrives_as_text():
    line = task_to_json(task_of({"preprocessing": {"x": date(2020, 1, 2)}}))
    assert json.loads(line)["jobs"][0]["spec"]["ludwig"] == {"preprocessing": {"x": "2020-01-02"}}


@pytest.mark.parametrize(
    "line", ["", "[]", "{}", "no JSON", '{"jobs": []}', '{"jobs": [{}], "settings": {}, "seconds": 1}']
)
def test_a_line_that_is_no_task_is_a_value_error(line: str):
    with pytest.raises(ValueError, match=r"."):
        task_from_json(line)


@given(jobs, st.text(max_size=40), st.integers(1, 130))
def test_a_failure_arrives_as_it_was_sent(job: TrainJob, reason: str, exit_code: int):
    failed = FailedJob(job, reason, exit_code)
    data = json.loads(json.dumps(result_to_json(failed)))
    assert data["folder"] == str(job.folder)
    assert result_from_json(job, data) == failed


def test_a_fitted_model_arrives_as_it_was_sent():
    (job,) = task_of({}).jobs
    fitted = Fitted(job, [{"validation_loss": 0.1 + 0.2}], {"parameters": 7, "strategy": "fleet", "difference": 1e-9})
    assert result_from_json(job, json.loads(json.dumps(result_to_json(fitted)))) == fitted


def test_a_result_names_the_folder_and_not_the_job():
    (job,) = task_of({}).jobs
    assert result_to_json(Fitted(job)) == {"folder": "/y", "epochs": [], "facts": {}}
