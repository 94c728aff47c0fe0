"""The base forecast of a model: what is known without a model, inside the graph.

The base of a session is C exp(mu) - D: the last close C, grown by the drift mu of total returns, less the dividend D
that was announced for the next session. A model with a base learns the *total* return of the next session (price and
dividend together). Its forecast is shrunk to the base instead of to "no change":

    total      = mu + shrinkage * (network - mu)
    log_return = log(exp(total) - D / C)

`add_base` puts this into a graph that a trainer exported, so that everything that runs the graph needs no more. The
initializers `shrinkage` and `drift` (mu) are scalars. With a dividend, the input has one more column, the last one:
D / C (`features.build.ANNOUNCED`). The output `raw_log_return` is log(exp(network) - D / C).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper, numpy_helper

from mlops_cli.errors import ModelError
from mlops_cli.models.graph import INPUT, OUTPUT, RAW_OUTPUT, SHRINKAGE

DRIFT = "drift"
BASE_VERSION = 1  # raised when the code builds another graph for the same network and base
_NETWORK_INPUT = "network_features"
_NETWORK = "network_total"
_TOTAL = "shrunk_total"
_YIELD = "dividend_yield"
_LEAST = np.float32(1e-6)  # of the last close: a forecast close is above 0, so that its logarithm exists


def add_base(path: Path, columns: int, dividend: bool) -> None:
    """Rewrite an exported graph (shrinkage 1) in place: a base is added, with drift 0.

    Args:
        path: `model.onnx`, as a trainer wrote it.
        columns: number of columns of the network's input.
        dividend: whether the announced dividend is subtracted; the graph then has columns + 1 inputs.

    Raises:
        ModelError: the graph is damaged, or is not as `models.graph` says.
    """
    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise ModelError(f"{path}: damaged: {error}", "train the model again: mlops train") from error
    graph = model.graph
    last = [node for node in graph.node if OUTPUT in node.output]
    if len(last) != 1 or all(constant.name != SHRINKAGE for constant in graph.initializer):
        raise ModelError(f"{path}: the graph has no output {OUTPUT!r} that is shrunk", "train it again: mlops train")
    graph.node.remove(last[0])
    _rename(graph, RAW_OUTPUT, _NETWORK)
    if dividend:
        _rename(graph, INPUT, _NETWORK_INPUT)
        own = list(graph.node)
        del graph.node[:]
        graph.node.extend([*_split_input(graph, columns), *own])
    graph.initializer.append(numpy_helper.from_array(np.array(0.0, np.float32), DRIFT))
    graph.node.extend(
        [
            helper.make_node("Sub", [_NETWORK, DRIFT], ["from_base"]),
            helper.make_node("Mul", ["from_base", SHRINKAGE], ["shrunk_from_base"]),
            helper.make_node("Add", ["shrunk_from_base", DRIFT], [_TOTAL]),
            *_price_return(_TOTAL, OUTPUT, dividend),
            *_price_return(_NETWORK, RAW_OUTPUT, dividend),
        ]
    )
    if dividend:
        names = {"one": np.float32(1.0), "least": _LEAST}
        graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in names.items())
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a value of the network another name; the graph's own inputs and outputs keep theirs."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _split_input(graph: onnx.GraphProto, columns: int) -> list[onnx.NodeProto]:
    """Nodes that part the input into the network's columns and the dividend; the input's width is changed."""
    (features,) = [value for value in graph.input if value.name == INPUT]
    features.type.tensor_type.shape.dim[1].dim_value = columns + 1
    bounds = {"first": [0], "columns": [columns], "end": [columns + 1], "axis": [1], "rows": [-1]}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), f"split_{name}") for name, value in bounds.items()
    )
    return [
        helper.make_node("Slice", [INPUT, "split_first", "split_columns", "split_axis"], [_NETWORK_INPUT]),
        helper.make_node("Slice", [INPUT, "split_columns", "split_end", "split_axis"], ["dividend_column"]),
        helper.make_node("Reshape", ["dividend_column", "split_rows"], [_YIELD]),
    ]


def _price_return(total: str, output: str, dividend: bool) -> list[onnx.NodeProto]:
    """Nodes for log(exp(total) - yield), as total + log(1 - yield / exp(total)): exactly `total` without a dividend."""
    if not dividend:
        return [helper.make_node("Identity", [total], [output])]
    return [
        helper.make_node("Exp", [total], [f"{output}_growth"]),
        helper.make_node("Div", [_YIELD, f"{output}_growth"], [f"{output}_part"]),
        helper.make_node("Sub", ["one", f"{output}_part"], [f"{output}_rest"]),
        helper.make_node("Max", [f"{output}_rest", "least"], [f"{output}_kept"]),
        helper.make_node("Log", [f"{output}_kept"], [f"{output}_lost"]),
        helper.make_node("Add", [total, f"{output}_lost"], [output]),
    ]
