"""The base forecast and the prediction interval, inside the graph of a model.

The base of a session is C exp(mu) - D: the last close C, grown by the drift mu of total returns, less the dividend D
that was announced for the next session. A model with a base learns the *total* return of the next session (price and
dividend together). Its forecast is shrunk to the base instead of to "no change". Its interval has the same width w up
and down:

    total      = mu + shrinkage * (network - mu)         log_return = log(exp(total) - D / C)
    lower      = total - factor * w                      (the same for every other total return)
    upper      = total + factor * w

Without a base, mu and D are 0, and `log_return` is exactly shrinkage * network.

`wrap_graph` puts this into a graph that a trainer exported, so that everything that runs the graph needs no more. The
columns of the input are those of the network, D / C (`features.extras.ANNOUNCED`) if dividends are subtracted, and w of
each level. The outputs are `log_return`, `raw_log_return` (with the network's total return) and `interval`.

All totals of a row come from one matrix product of (network, w of each level), because every node of a graph costs
about a microsecond at each request. Shrinkage, drift and factor are in the matrix and its offsets, which the end of
training writes (`forecast_constants`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.errors import ModelError
from mlops_cli.models.graph import INPUT, INTERVAL, OUTPUT, RAW_OUTPUT, SHRINKAGE

WRAP_VERSION = 1  # raised when the code builds another graph for the same network, base and levels
MATRIX, OFFSETS = "forecast_matrix", "forecast_offsets"
_NETWORK_INPUT = "network_features"
_NETWORK = "network_forecast"
_YIELD = "dividend_yield"
_WIDTHS = "interval_widths"
_TOTALS = "total_returns"
_LEAST = np.float32(1e-6)  # of the last close: a forecast close is above 0, so that its logarithm exists

Constants = dict[str, npt.NDArray[np.float32]]


def forecast_constants(shrinkage: float, drift: float, levels: int, factor: float = 1.0) -> Constants:
    """The matrix and the offsets of a wrapped graph; `factor` multiplies the widths. See the module."""
    matrix = np.zeros((1 + levels, 2 + 2 * levels), np.float32)
    matrix[0] = shrinkage
    matrix[0, 1] = 1.0
    for level in range(levels):
        matrix[1 + level, [2 + 2 * level, 3 + 2 * level]] = -factor, factor
    offsets = np.full(2 + 2 * levels, (1.0 - shrinkage) * drift, np.float32)
    offsets[1] = 0.0
    return {MATRIX: matrix, OFFSETS: offsets}


def wrap_graph(path: Path, columns: int, levels: int, dividend: bool) -> None:
    """Rewrite an exported graph (shrinkage 1) in place: it gets a base with drift 0, and an interval of each level.

    Args:
        path: `model.onnx`, as a trainer wrote it.
        columns: number of columns of the network's input.
        levels: number of levels; the graph then has as many inputs more.
        dividend: whether the announced dividend is subtracted; the graph then has one input more.

    Raises:
        ModelError: the graph is damaged, or is not as `models.graph` says.
    """
    try:
        model = onnx.load(path)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing", "train it: mlops train") from None
    except DecodeError as error:
        raise ModelError(f"{path}: damaged: {error}", "train the model again: mlops train") from error
    graph = model.graph
    shrinking = [node for node in graph.node if OUTPUT in node.output]
    factors = [constant for constant in graph.initializer if constant.name == SHRINKAGE]
    if len(shrinking) != 1 or len(factors) != 1:
        raise ModelError(f"{path}: the graph has no output {OUTPUT!r} that is shrunk", "train it again: mlops train")
    graph.node.remove(shrinking[0])
    graph.initializer.remove(factors[0])
    _rename(graph, RAW_OUTPUT, _NETWORK)
    _split_input(graph, columns, {_YIELD: int(dividend), _WIDTHS: levels})
    _add_totals(graph, levels)
    price_returns = _TOTALS
    if dividend:
        price_returns = "price_returns"
        graph.node.extend(_less_dividend(_TOTALS, price_returns))
    _split_outputs(graph, price_returns, levels)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a value of the network another name; the graph's own inputs and outputs keep theirs."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _split_input(graph: onnx.GraphProto, columns: int, more: dict[str, int]) -> None:
    """Take further columns, by name and number, from the end of the input, and leave the network its own."""
    parts = {_NETWORK_INPUT: columns, **{name: number for name, number in more.items() if number}}
    if len(parts) == 1:
        return
    (features,) = [value for value in graph.input if value.name == INPUT]
    features.type.tensor_type.shape.dim[1].dim_value = sum(parts.values())
    _rename(graph, INPUT, _NETWORK_INPUT)
    network = list(graph.node)
    del graph.node[:]
    sizes = _whole_numbers(graph, "input_parts", list(parts.values()))
    graph.node.extend([helper.make_node("Split", [INPUT, sizes], list(parts), axis=1), *network])


def _add_totals(graph: onnx.GraphProto, levels: int) -> None:
    """Nodes for all total returns, (rows, 2 + 2 levels): shrunk, unshrunk, then lower and upper bound of each level."""
    constants = forecast_constants(1.0, 0.0, levels)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    column = "network_column"
    shape = _whole_numbers(graph, "one_column", [-1, 1])
    graph.node.append(helper.make_node("Reshape", [_NETWORK, shape], [column]))
    terms = column
    if levels:
        terms = "terms"
        graph.node.append(helper.make_node("Concat", [column, _WIDTHS], [terms], axis=1))
    graph.node.append(helper.make_node("Gemm", [terms, MATRIX, OFFSETS], [_TOTALS]))


def _less_dividend(totals: str, price_returns: str) -> list[onnx.NodeProto]:
    """Nodes for log(exp(total) - yield), as total + log(1 - yield / exp(total)): exactly `total` without a dividend."""
    return [
        # nodes, not constants of the graph, which would be sent to a shared session as weights at every run
        helper.make_node("Constant", [], ["whole"], value_float=1.0),
        helper.make_node("Constant", [], ["least"], value_float=float(_LEAST)),
        helper.make_node("Exp", [totals], ["growth"]),
        helper.make_node("Div", [_YIELD, "growth"], ["paid_part"]),
        helper.make_node("Sub", ["whole", "paid_part"], ["rest"]),
        helper.make_node("Max", ["rest", "least"], ["positive_rest"]),
        helper.make_node("Log", ["positive_rest"], ["lost"]),
        helper.make_node("Add", [totals, "lost"], [price_returns]),
    ]


def _split_outputs(graph: onnx.GraphProto, returns: str, levels: int) -> None:
    sizes = _whole_numbers(graph, "output_parts", [1, 1, *([2 * levels] if levels else [])])
    axis = _whole_numbers(graph, "column_axis", [1])
    columns = ["shrunk_column", "raw_column"]
    intervals = [INTERVAL] if levels else []
    graph.node.append(helper.make_node("Split", [returns, sizes], [*columns, *intervals], axis=1))
    for column, output in zip(columns, (OUTPUT, RAW_OUTPUT), strict=True):
        graph.node.append(helper.make_node("Squeeze", [column, axis], [output]))
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2 * levels]) for name in intervals
    )


def _whole_numbers(graph: onnx.GraphProto, name: str, values: list[int]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    return name
