"""The inputs and outputs of `model.onnx`. They are the same in every model folder, whichever trainer wrote it.

- input `features`: float32 (rows, len(inputs)), raw columns of the feature table in the order of the manifest;
- output `log_return`: float32 (rows,), the shrunk forecast of the next session's log return;
- output `raw_log_return`: float32 (rows,), before shrinkage;
- output `interval`: float32 (rows, 2 * levels), lower and upper bound of the log return by rising level. Models that
  were trained before there were intervals do not have it.

A trainer writes a graph of its network, with the first two outputs and the scalar constant `shrinkage`:
log_return = shrinkage * raw_log_return. `models.base` adds the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.errors import ModelError

INPUT = "features"
OUTPUT = "log_return"
RAW_OUTPUT = "raw_log_return"
OUTPUTS = (OUTPUT, RAW_OUTPUT)
INTERVAL = "interval"
SHRINKAGE = "shrinkage"
LARGEST_LOG_RETURN = 100.0  # a larger forecast gives no price that a float can hold
OPSET = 20
IR_VERSION = 10


def constant_return_graph(columns: int, log_return: float) -> onnx.ModelProto:
    """A graph that forecasts the same log return for every row: 0 (naive) or the mean return (drift)."""
    nodes = [
        helper.make_node("Shape", [INPUT], ["shape"], end=1),
        helper.make_node("Expand", ["constant", "shape"], [RAW_OUTPUT]),
        helper.make_node("Mul", [RAW_OUTPUT, SHRINKAGE], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant_return",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows"]) for name in (OUTPUT, RAW_OUTPUT)],
        [
            numpy_helper.from_array(np.array([log_return], dtype=np.float32), "constant"),
            numpy_helper.from_array(np.array(1.0, dtype=np.float32), SHRINKAGE),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def set_constants(source: Path, destination: Path, values: Mapping[str, npt.ArrayLike]) -> None:
    """Copy a graph and change only these constants, by name; a `ModelError` if it is damaged or lacks one of them."""
    try:
        model = onnx.load(source)
    except DecodeError as error:
        raise ModelError(f"{source}: damaged: {error}", "train the model again: mlops train") from error
    left = dict(values)
    for initializer in model.graph.initializer:
        if initializer.name in left:
            value = np.array(left.pop(initializer.name), dtype=np.float32)
            initializer.CopyFrom(numpy_helper.from_array(value, initializer.name))
    if left:
        raise ModelError(f"{source}: the graph has no constant {', '.join(left)}", "train the model again: mlops train")
    onnx.save(model, destination)
