"""The Open Inference Protocol's requests and answers, as bytes."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.serving.contract.messages import Answer, BadInputError, ModelFacts
from mlops_cli.serving.http.oip import InferRequest, Limits, decode, encode

COLUMNS = ("return_1", "return_5", "volatility_5")
FACTS = ModelFacts("red-acme", ("1",), COLUMNS, "ACME", "red", date(2020, 1, 2), 0.5, None)
WITH_EXTRAS = replace(FACTS, inputs=(*COLUMNS, "announced_dividend", "width_80", "width_95"), levels=(80.0, 95.0))
ROWS = np.array([[0.1, -0.2, 0.3], [1.5, 2.5, -3.5]], np.float32)


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "features", "datatype": "FP32", "shape": [2, 3], "data": ROWS.ravel().tolist(), **changes}


def read(request: Any, binary: bytes | None = None) -> InferRequest:
    header = json.dumps(request).encode()
    length = None if binary is None else str(len(header)).encode()
    return decode(header + (binary or b""), length, lambda: FACTS)


def answer(rows: int = 2) -> Answer:
    values = np.linspace(-0.01, 0.01, rows, dtype=np.float32)
    return Answer("red-acme", "red-acme", "0123456789ab", values, 2 * values, "full", 0.0, "skill")


@pytest.mark.parametrize("data", [ROWS.ravel().tolist(), ROWS.tolist(), ROWS.reshape(3, 2).tolist()])
def test_json_rows_flat_or_nested(data: list[Any]) -> None:
    found = read({"id": "7", "inputs": [tensor(data=data)]})
    np.testing.assert_array_equal(found.rows, ROWS)
    assert found.rows.dtype == np.float32
    assert found.id == "7"
    assert found.outputs == (("log_return", False), ("raw_log_return", False))


def test_whole_numbers_are_numbers() -> None:
    np.testing.assert_array_equal(read({"inputs": [tensor(data=[1, 2, 3, 4, 5, 6])]}).rows.ravel(), range(1, 7))


def test_binary_rows() -> None:
    binary = tensor(parameters={"binary_data_size": 24})
    del binary["data"]
    found = read({"inputs": [binary], "parameters": {"binary_data_output": True}}, ROWS.tobytes())
    np.testing.assert_array_equal(found.rows, ROWS)
    assert found.outputs == (("log_return", True), ("raw_log_return", True))


def test_a_tensor_per_column_in_any_order() -> None:
    tensors = [
        {"name": name, "datatype": "FP32", "shape": [2, 1][: 1 + at % 2], "data": ROWS[:, at].tolist()}
        for at, name in enumerate(COLUMNS)
    ]
    np.testing.assert_array_equal(read({"inputs": tensors[::-1]}).rows, ROWS)


def test_binary_columns_follow_each_other() -> None:
    tensors = [
        {"name": COLUMNS[at], "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
        for at in (2, 0, 1)
    ]
    binary = b"".join(ROWS[:, at].tobytes() for at in (2, 0, 1))
    np.testing.assert_array_equal(read({"inputs": tensors}, binary).rows, ROWS)


def test_large_finite_values_pass() -> None:
    np.testing.assert_array_equal(read({"inputs": [tensor(data=[3e38] * 6)]}).rows, np.full((2, 3), 3e38, np.float32))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ([], "inputs"),
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": "x"}, "inputs"),
        ({"inputs": [7]}, "inputs"),
        ({"id": 7, "inputs": [tensor()]}, "id"),
        ({"inputs": [tensor(datatype="FP64")]}, "'FP64', expected FP32"),
        ({"inputs": [tensor(datatype="BYTES")]}, "'BYTES', expected FP32"),
        ({"inputs": [tensor(datatype=None)]}, "expected FP32"),
        ({"inputs": [tensor(shape=[3, 3])]}, "6 values, its shape asks for 9"),
        ({"inputs": [tensor(shape=[6])]}, "shape [6], expected [rows, columns]"),
        ({"inputs": [tensor(shape=[2, -3])]}, "expected whole numbers"),
        ({"inputs": [tensor(shape=[True, 6])]}, "expected whole numbers"),
        ({"inputs": [tensor(shape=[])]}, "expected whole numbers"),
        ({"inputs": [tensor(shape=None)]}, "expected whole numbers"),
        ({"inputs": [tensor(shape=[0, 3], data=[])]}, "no rows"),
        ({"inputs": [tensor(shape=[2, 0], data=[])]}, "no rows"),
        ({"inputs": [tensor(data=["1", "2", "3", "4", "5", "6"])]}, "expected numbers only"),
        ({"inputs": [tensor(data=[True] * 6)]}, "expected numbers only"),
        ({"inputs": [tensor(data=[None] * 6)]}, "expected numbers only"),
        ({"inputs": [tensor(data=[{}] * 6)]}, "expected numbers only"),
        ({"inputs": [tensor(data=[10**400] + [0] * 5)]}, "no JSON"),
        ({"inputs": [tensor(data=[1e39] + [0] * 5)]}, "not a finite FP32 number at place 0"),
        ({"inputs": [tensor(data=[[1, 2], [3], [4, 5, 6]])]}, "different lengths"),
        ({"inputs": [tensor(data=None)]}, "no list of numbers"),
        ({"inputs": [tensor(data=7)]}, "no list of numbers"),
        ({"inputs": [tensor(parameters={"binary_data_size": 24})]}, "Inference-Header-Content-Length is missing"),
        ({"inputs": [tensor()], "outputs": [{"name": "close"}]}, "no output 'close'"),
        ({"inputs": [tensor()], "outputs": "log_return"}, "outputs"),
        ({"inputs": [tensor()], "outputs": [{"name": ["x"]}]}, "no output"),
        (
            {"inputs": [tensor()], "outputs": [{"name": "log_return", "parameters": {"classification": 2}}]},
            "classification",
        ),
        ({"inputs": [tensor()], "parameters": 3}, "parameters"),
        ({"inputs": [tensor(name="return_1")]}, "shape [2, 3], expected [rows]"),
        ({"inputs": [tensor(name="return_1", shape=[6])]}, "inputs lack return_5, volatility_5"),
        ({"inputs": [tensor(name="close", shape=[6])]}, "'close': unknown"),
        ({"inputs": [tensor(name="return_1", shape=[6])] * 2}, "given twice"),
        ({"inputs": [tensor(name=["features"])]}, "unknown"),
        ({"inputs": [tensor(name=name, shape=[1 + at], data=[0.0] * (1 + at)) for at, name in enumerate(COLUMNS)]},
         "different numbers of rows: 1, 2, 3"),
    ],
)  # fmt: skip
def test_wrong_requests_hear_what_was_expected(request_: Any, expected: str) -> None:
    with pytest.raises(BadInputError) as refused:
        read(request_)
    assert expected in refused.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"inputs": [{"data": [NaN]}]}', b"[" * 100_000])
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(BadInputError, match="no JSON"):
        decode(body, None, lambda: FACTS)


@pytest.mark.parametrize(
    ("size", "binary", "expected"),
    [
        (24, ROWS.tobytes()[:-1], "ends before"),
        (24, ROWS.tobytes() + b"x", "1 bytes after"),
        (20, ROWS.tobytes(), "expected 24"),
        ("24", ROWS.tobytes(), "expected 24"),
        (24, np.array([np.nan] * 6, np.float32).tobytes(), "not a finite FP32 number at place 0, 1"),
        (24, np.array([1, 2, np.inf, 4, 5, -np.inf], np.float32).tobytes(), "at place 2, 5"),
    ],
)
def test_wrong_binary_data(size: Any, binary: bytes, expected: str) -> None:
    with pytest.raises(BadInputError, match=expected):
        read({"inputs": [tensor(parameters={"binary_data_size": size})]}, binary)


@pytest.mark.parametrize("length", [b"", b"-1", b"x", b"1e3", b"99999", b"9" * 5000, "²".encode("latin-1")])
def test_wrong_header_length(length: bytes) -> None:
    with pytest.raises(BadInputError):
        decode(json.dumps({"inputs": [tensor()]}).encode(), length, lambda: FACTS)


def test_the_answer_in_json() -> None:
    body, length = encode("red-acme", answer(), read({"id": "a", "inputs": [tensor()]}))
    assert length is None
    assert json.loads(body) == {
        "model_name": "red-acme",
        "model_version": "0123456789ab",
        "id": "a",
        "parameters": {"rung": "full", "answered_by": "red-acme", "age": 0.0, "verdict": "skill"},
        "outputs": [
            {"name": "log_return", "datatype": "FP32", "shape": [2], "data": [-0.01, 0.01]},
            {"name": "raw_log_return", "datatype": "FP32", "shape": [2], "data": [-0.02, 0.02]},
        ],
    }


def test_the_answer_in_binary_and_only_what_was_asked_for() -> None:
    wanted = [{"name": "raw_log_return", "parameters": {"binary_data": True}}, {"name": "log_return"}]
    body, length = encode("red-acme", answer(), read({"inputs": [tensor()], "outputs": wanted}))
    assert length is not None
    first, second = json.loads(body[:length])["outputs"]
    assert first["name"] == "raw_log_return"
    assert first["parameters"] == {"binary_data_size": 8}
    assert second["data"] == [-0.01, 0.01]
    np.testing.assert_array_equal(np.frombuffer(body[length:], "<f4"), answer().raw_log_return)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["features", "FP32"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data_size", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(inputs=json_values, outputs=json_values, parameters=json_values, binary=st.none() | st.binary(max_size=30))
def test_no_request_is_met_with_anything_but_rows_or_a_refusal(
    inputs: Any, outputs: Any, parameters: Any, binary: bytes | None
) -> None:
    for tensors in (inputs, [inputs], [tensor(data=inputs)], [tensor(parameters=inputs, shape=[6])]):
        try:
            found = read({"inputs": tensors, "outputs": outputs, "parameters": parameters}, binary)
        except BadInputError:
            continue
        assert np.isfinite(found.rows).all()
        assert found.rows.ndim == 2


@pytest.mark.parametrize(
    "data",
    [
        [True, 0.1, 0.2, 0.3, 0.4, 0.5],
        [1.0, 2.0, 3.0, 4.0, 5.0, False],
        [[1, 2, 3], [4, 5, True]],
        [1, 2, 3, 4, 5, "6"],
        [[1, 2, 3], "456"],
        [[1, 2, 3], [4, 5, [6]]],
        [0.5, 0.5, 0.5, 0.5, 0.5, None],
        [{}, 1, 2, 3, 4, 5],
    ],
)
def test_what_is_no_number_is_not_taken_for_one(data: list[Any]) -> None:
    for changes in ({}, {"parameters": {}}):
        with pytest.raises(BadInputError, match="expected numbers only"):
            read({"inputs": [tensor(data=data, **changes)]})


@pytest.mark.parametrize("data", [[[[[0.5]]], [[[0.25]]]], [[0.5], [0.25]], [0.5, 0.25]])
def test_lists_may_be_nested_as_deeply_as_callers_like(data: list[Any]) -> None:
    assert read({"inputs": [tensor(data=data, shape=[1, 2])]}).rows.tolist() == [[0.5, 0.25]]


@pytest.mark.parametrize(
    "shape",
    [
        [1] * 65,
        [0, 2**63],
        [0, 2**40, 2**40],
        [2**63, 2**63],
        [2**64 - 1],
        [1] * 100_000,
        [2**62] * 1000,
        [0],
        [2, 3, 1],
    ],
)
def test_no_shape_is_too_odd_for_a_refusal(shape: list[int]) -> None:
    for name in ("features", "return_1"):
        for data in ([], [0.5]):
            with pytest.raises(BadInputError) as refused:
                read({"inputs": [tensor(name=name, shape=shape, data=data)]})
            assert len(refused.value.message) < 300


def test_no_output_is_given_twice() -> None:
    wanted = [{"name": "log_return"}, {"name": "raw_log_return"}, {"name": "log_return"}]
    with pytest.raises(BadInputError, match="asked for twice"):
        read({"inputs": [tensor()], "outputs": wanted})


def test_an_id_is_echoed_only_up_to_a_length() -> None:
    assert read({"id": "x" * 1000, "inputs": [tensor()]}).id == "x" * 1000
    with pytest.raises(BadInputError, match="at most 1000 characters"):
        read({"id": "x" * 1001, "inputs": [tensor()]})


def test_more_rows_than_an_answer_may_have_are_refused() -> None:
    rows = np.zeros((10_001, 3), np.float32)
    binary = tensor(shape=[10_001, 3], parameters={"binary_data_size": rows.nbytes})
    header = json.dumps({"inputs": [binary]}).encode()
    length = str(len(header)).encode()
    assert len(decode(header + rows.tobytes(), length, lambda: FACTS).rows) == 10_001
    with pytest.raises(BadInputError, match="10001 rows, at most 10000"):
        decode(header + rows.tobytes(), length, lambda: FACTS, Limits.of(1000))


MEGABYTE = 1_000_000
BOMBS = {
    "a long text among numbers": b'{"inputs":[{"name":"features","datatype":"FP32","shape":[1,601],"data":["'
    + b"x" * MEGABYTE
    + b'"'
    + b",1" * 600
    + b"]}]}",
    "empty lists": b'{"inputs":[' + b"[]," * (MEGABYTE // 3) + b"0]}",
    "empty objects": b'{"inputs":[' + b"{}," * (MEGABYTE // 3) + b"0]}",
    "names": b'{"inputs":[{' + b",".join(b'"%d":1' % number for number in range(MEGABYTE // 10)) + b"}]}",
    "texts": b'{"inputs":[{"data":[' + b'"xy",' * (MEGABYTE // 5) + b"0]}]}",
    "outputs": b'{"inputs":[],"outputs":[' + b'{"name":"log_return"},' * (MEGABYTE // 22) + b"{}]}",
    "numbers": b'{"inputs":[{"data":[' + b"7," * (MEGABYTE // 2) + b"7]}]}",
    "a wide character": '{{"id":"\U0001f600{}"}}'.format("x" * MEGABYTE).encode(),
    "a name of a tensor": b'{"inputs":[{"name":"' + b"\\u0000" * (MEGABYTE // 6) + b'","datatype":"FP32"}]}',
    "nested lists": b'{"inputs":[{"name":' + b"[" * 1000 + b"1," * (MEGABYTE // 2) + b"1" + b"]" * 1000 + b"}]}",
}


@pytest.mark.parametrize("what", BOMBS)
def test_memory_stays_in_proportion_to_the_body(what: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError) as refused:
            decode(BOMBS[what], None, lambda: FACTS)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 50 * MEGABYTE  # of which the parser asks for 12 MB, without using them
    assert len(refused.value.message) < 500


def by_column(*names: str) -> bytes:
    tensors = [{"name": name, "datatype": "FP32", "shape": [1], "data": [float(at)]} for at, name in enumerate(names)]
    return json.dumps({"inputs": tensors[::-1]}).encode()


def test_tensors_by_column_may_leave_out_all_widths_and_nothing_else() -> None:
    inputs = WITH_EXTRAS.inputs
    assert decode(by_column(*inputs), None, lambda: WITH_EXTRAS).rows.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert decode(by_column(*inputs[:4]), None, lambda: WITH_EXTRAS).rows.tolist() == [[0, 1, 2, 3]]
    with pytest.raises(BadInputError, match="inputs lack width_95"):
        decode(by_column(*inputs[:5]), None, lambda: WITH_EXTRAS)
    with pytest.raises(BadInputError, match="lack announced_dividend") as refused:
        decode(by_column(*COLUMNS, "width_80", "width_95"), None, lambda: WITH_EXTRAS)
    assert "actions list --upcoming" in refused.value.hint


@pytest.mark.parametrize("binary", [False, True])
def test_intervals_are_answered_in_rows_where_they_are_asked_for(binary: bool) -> None:
    outputs = [{"name": "interval", "parameters": {"binary_data": binary}}, {"name": "log_return"}]
    request = read({"inputs": [tensor()], "outputs": outputs})
    assert request.interval
    bounds = np.array([[-0.1, 0.1, -0.2, 0.2], [-0.3, 0.3, -0.4, 0.4]], np.float32)
    body, length = encode("red-acme", answer()._replace(interval=bounds), request)
    reply = json.loads(body if length is None else body[:length])
    first = reply["outputs"][0]
    assert (first["name"], first["shape"]) == ("interval", [2, 4])
    values = np.frombuffer(body[length:], "<f4") if binary else np.array(first["data"], np.float32)
    np.testing.assert_array_equal(values.reshape(2, 4), bounds)


def test_no_interval_is_answered_without_asking() -> None:
    assert not read({"inputs": [tensor()]}).interval
    assert not read({"inputs": [tensor()], "parameters": {"binary_data_output": True}}).interval
    body, _ = encode("red-acme", answer(), read({"inputs": [tensor()]}))
    assert [output["name"] for output in json.loads(body)["outputs"]] == ["log_return", "raw_log_return"]
