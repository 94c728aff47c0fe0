"""Jobs cross to the worker process as one line of text and arrive as they were."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import FeatureSpec, Macd
from mlops_cli.training.tasks.job_json import job_from_json, job_to_json
from mlops_cli.training.trainer import TrainJob
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


@given(jobs)
@settings(max_examples=200)
def test_a_job_arrives_as_it_was_sent_in_one_line(job: TrainJob):
    line = job_to_json(job)
    assert "\n" not in line
    assert line.isascii()
    assert job_from_json(line + "\n") == job


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_numbers_that_json_does_not_know_arrive_too(number: float):
    job = TrainJob(
        model_spec(ludwig={"trainer": {"learning_rate": number}}),
        Path("/x"),
        (),
        date(2020, 1, 2),
        date(2021, 1, 2),
        7,
        Path("/y"),
    )
    arrived = job_from_json(job_to_json(job))
    assert repr(arrived.spec.ludwig) == repr(job.spec.ludwig)


def test_a_date_that_yaml_made_arrives_as_text():
    spec = model_spec(ludwig={"preprocessing": {"x": date(2020, 1, 2)}})
    job = TrainJob(spec, Path("/x"), (), date(2020, 1, 2), date(2021, 1, 2), 7, Path("/y"))
    assert json.loads(job_to_json(job))["spec"]["ludwig"] == {"preprocessing": {"x": "2020-01-02"}}
