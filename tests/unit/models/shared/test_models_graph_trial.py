"""Trials of graphs in a process of their own: it ends with a graph that does not end, and others are tried after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import onnx
import psutil
import pytest

from mlops_cli.errors import ModelError
from mlops_cli.models.graph import constant_return_graph
from mlops_cli.models.shared import graph_trial
from mlops_cli.models.shared.architectures import split
from mlops_cli.models.shared.graph_trial import TrialProcess
from tests.fakes.hostile_graphs import (
    COLUMNS,
    greedy_graph,
    hidden_loop_graph,
    integer_graph,
    looping_graph,
    scalar_graph,
    slow_graph,
    squeezing_graph,
)


@pytest.fixture
def trial() -> Iterator[TrialProcess]:
    process = TrialProcess(seconds=2.0)
    yield process
    process.close()


def same(trial: TrialProcess, graph: onnx.ModelProto) -> bool:
    data = graph.SerializeToString()
    return trial.same_answers(data, split(data, COLUMNS), COLUMNS)


def good() -> onnx.ModelProto:
    return constant_return_graph(COLUMNS, 0.25)


@pytest.mark.parametrize("make", [looping_graph, hidden_loop_graph])
def test_operators_that_repeat_others_are_refused_unrun(make) -> None:
    with pytest.raises(ModelError, match="operator Loop, which may repeat others for ever"):
        split(make().SerializeToString(), COLUMNS)


def test_a_loop_in_a_function_of_the_graph_is_refused_too() -> None:
    graph = good()
    graph.functions.add(name="f", domain="x").node.append(looping_graph().graph.node[1])
    with pytest.raises(ModelError, match="operator Loop"):
        split(graph.SerializeToString(), COLUMNS)


def test_a_graph_of_far_too_many_nodes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = good()
    for number in range(20_001):
        graph.graph.node.add(op_type="Identity", input=["constant"], output=[f"x{number}"])
    with pytest.raises(ModelError, match="more than 20000 nodes"):
        split(graph.SerializeToString(), COLUMNS)


def test_one_process_tries_graph_after_graph(trial: TrialProcess) -> None:
    assert same(trial, good())
    process = trial._process
    for make, reason in ((scalar_graph, "4 rows"), (squeezing_graph, "1 rows"), (integer_graph, "does not run")):
        with pytest.raises(ModelError, match=reason):
            same(trial, make())
    assert same(trial, good())
    assert trial._process is process


def test_a_graph_that_does_not_end_or_takes_all_memory_fails_and_the_next_is_tried(trial: TrialProcess) -> None:
    begun = time.monotonic()
    with pytest.raises(ModelError, match="did not finish a trial within 2 s"):
        same(trial, slow_graph())
    assert time.monotonic() - begun < 20
    with pytest.raises(ModelError, match=r"memory|did not finish"):
        same(trial, greedy_graph())
    assert same(trial, good())


def test_a_trial_that_is_under_way_ends_when_the_server_does() -> None:
    trial, reasons = TrialProcess(seconds=60.0), []

    def work() -> None:
        with pytest.raises(ModelError) as caught:
            same(trial, slow_graph())
        reasons.append(caught.value.message)

    thread = threading.Thread(target=work)
    thread.start()
    while trial._process is None:
        time.sleep(0.01)
    child = psutil.Process(trial._process.pid)
    time.sleep(0.2)
    trial.close()
    thread.join(10)
    assert reasons
    assert not child.is_running()
    with pytest.raises(ModelError):
        same(trial, good())


def test_a_process_without_work_leaves_and_another_one_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_trial, "_IDLE", "0.1")
    trial = TrialProcess()
    for _ in range(2):
        assert same(trial, good())
        assert trial._process is not None
        assert trial._process.wait(10) == 0
    trial.close()
