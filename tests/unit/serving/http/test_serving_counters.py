"""Counters: what is counted, added up over workers, and shown to Prometheus."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mlops_cli.serving.http.counters import BOUNDS, Counters, exposition


def samples(counters: Counters, measures: Sequence[dict[str, float]] = ()) -> dict[str, float]:
    """Every sample by its name and labels."""
    text = exposition(counters, measures).decode()
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.lists(st.floats(0, 5), max_size=30))
def test_buckets_are_cumulative_and_end_with_all_requests(times: list[float]) -> None:
    counters = Counters()
    for seconds in times:
        counters.took(seconds)
    found = samples(counters)
    for bound in BOUNDS:
        assert found[f"mlops_infer_seconds_bucket le={bound}"] == sum(seconds <= bound for seconds in times)
    assert found["mlops_infer_seconds_count"] == found["mlops_infer_seconds_bucket le=+Inf"] == len(times)
    assert abs(found["mlops_infer_seconds_sum"] - sum(times)) < 1e-6


def test_every_rung_is_shown_from_the_start_and_statuses_once_they_occur() -> None:
    counters = Counters()
    assert samples(counters)["mlops_answers_total rung=cached"] == 0
    counters.answers["cached"] += 3
    counters.statuses["503"] += 2
    found = samples(counters)
    assert found["mlops_answers_total rung=cached"] == 3
    assert found["mlops_http_responses_total status=503"] == 2
    assert not any("status=200" in name for name in found)


def test_measures_are_by_worker_and_a_missing_one_is_left_out() -> None:
    found = samples(Counters(), [{"queued": 2.0, "level": 1.0}, {"queued": 5.0}])
    assert (found["mlops_queued worker=0"], found["mlops_queued worker=1"]) == (2.0, 5.0)
    assert "mlops_level worker=1" not in found


@given(st.lists(st.tuples(st.sampled_from(["full", "small"]), st.floats(0, 3)), max_size=20))
def test_workers_add_up_to_what_one_would_have_counted(answers: list[tuple[str, float]]) -> None:
    alone, both = Counters(), [Counters(), Counters()]
    for number, (rung, seconds) in enumerate(answers):
        for counters in (alone, both[number % 2]):
            counters.answers[rung] += 1
            counters.statuses["200"] += 1
            counters.took(seconds)
    total = Counters()
    for counters in both:
        total.add(json.loads(json.dumps(counters.to_dict())))  # as it goes through a file
    assert (total.answers, total.statuses, total.buckets) == (alone.answers, alone.statuses, alone.buckets)
    assert abs(total.seconds - alone.seconds) < 1e-9
