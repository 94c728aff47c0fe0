"""Models of one architecture in one call: every value of the graph gets the models as its first dimension.

A run of one row costs 20 µs, nearly all of it for calling each kernel; 64 models in one call pay that once. Known
operators are rewritten for one dimension more. A graph with any other one (GRU and LSTM have no such form) is run model
by model, as is one whose stacked answers differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.models.graph import INPUT
from mlops_cli.models.predict import RUN_FAILURES
from mlops_cli.models.session import SESSION_FAILURES, start_session
from mlops_cli.models.shared.architectures import OUTPUTS, TOLERANCE, Weights
from mlops_cli.serving.answering.dispatcher import Outputs
from mlops_cli.serving.contract.messages import Rows

_ALIKE = frozenset({"Relu", "Tanh", "Sigmoid", "Elu", "LeakyRelu", "Softplus", "Erf", "Neg", "Exp", "Sqrt", "Identity"})
_PAIRED = frozenset({"Add", "Sub", "Mul", "Div"})
LEAST, MOST = 8, 64  # models of one call: fewer do not pay, and the weights of more do not stay in the cache


class Stacked:
    """An architecture's stacked form."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        """Use a session that takes `features` (models, rows, columns) and each weight with the models in front."""
        self._session = session
        self._trusted = False

    @classmethod
    def of(cls, graph: bytes) -> Stacked | None:
        """The stacked form of a stripped graph (`architectures.split`); None where there is none."""
        try:
            return cls(start_session(_Rewriting(onnx.ModelProto.FromString(graph)).done()))
        except _NoStackedFormError:
            return None
        except SESSION_FAILURES:
            return None

    def run(
        self, feeds: Sequence[Weights], rows: Sequence[Rows], alone: Callable[[int], Outputs]
    ) -> list[Outputs] | None:
        """Run models, each on rows of its own.

        Args:
            feeds: each model's weights by name.
            rows: float32, of one shape.
            alone: runs one of them by itself, by its number: the first call is compared with it.

        Returns:
            Both outputs of each model; None where the answers differ from those of a model alone, or the graph failed.
        """
        feed = {name: np.stack([one[name] for one in feeds]) for name in feeds[0]}
        feed[INPUT] = np.stack(rows)
        try:
            log_return, raw = self._session.run(OUTPUTS, feed)
        except RUN_FAILURES:
            return None
        outputs = list(zip(log_return, raw, strict=True))
        if not self._trusted:
            pairs = zip(outputs[0], alone(0), strict=True)
            if not all(np.allclose(a, b, rtol=0, atol=TOLERANCE, equal_nan=True) for a, b in pairs):
                return None
            self._trusted = True
        return outputs


class _NoStackedFormError(Exception):
    """An operator, or a use of one, that is not known here."""


class _Rewriting:
    """A graph on its way to its stacked form; `ranks` are those of the values before."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self._ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in model.graph.input}
        self._nodes: list[onnx.NodeProto] = []
        self._made: list[onnx.TensorProto] = []

    def done(self) -> bytes:
        """The stacked graph."""
        old = self._model.graph
        for node in old.node:
            self._add(node)
        inputs = [
            helper.make_tensor_value_info(
                one.name, TensorProto.FLOAT, ["models", *(_size(dim) for dim in one.type.tensor_type.shape.dim)]
            )
            for one in old.input
        ]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["models", "rows"]) for name in OUTPUTS]
        if any(self._ranks.get(name) != 1 for name in OUTPUTS):
            raise _NoStackedFormError
        graph = helper.make_graph(self._nodes, "stacked", inputs, outputs, self._made)
        model = helper.make_model(graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        stacked: bytes = model.SerializeToString(deterministic=True)
        return stacked

    def _add(self, node: onnx.NodeProto) -> None:
        values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        output = node.output[0]
        if node.op_type in _ALIKE:
            self._nodes.append(node)
            self._ranks[output] = self._rank(node.input[0])
        elif node.op_type in _PAIRED:
            self._paired(node)
        elif node.op_type == "Gemm":
            self._gemm(node, values)
        elif node.op_type == "Gather":
            self._gather(node, values)
        elif node.op_type in ("Squeeze", "Reshape"):
            self._reshaped(node, values)
        else:
            raise _NoStackedFormError(node.op_type)

    def _paired(self, node: onnx.NodeProto) -> None:
        rank = max(self._rank(name) for name in node.input)
        inputs = [self._widened(name, rank) for name in node.input]
        self._put(node.op_type, inputs, node.output[0], rank)

    def _gemm(self, node: onnx.NodeProto, values: dict[str, Any]) -> None:
        plain = values.get("alpha", 1.0) == values.get("beta", 1.0) == 1.0 and not values.get("transA", 0)
        if not plain or len(node.input) != 3:
            raise _NoStackedFormError("Gemm")
        left, right, bias = node.input
        if values.get("transB", 0):
            right = self._put("Transpose", [right], f"{node.output[0]}_right", 2, perm=[0, 2, 1])
        product = self._put("MatMul", [left, right], f"{node.output[0]}_product", 2)
        self._put("Add", [product, self._widened(bias, 2)], node.output[0], 2)

    def _gather(self, node: onnx.NodeProto, values: dict[str, Any]) -> None:
        rank, indices = self._rank(node.input[0]), self._constant(node.input[1])
        axis = values.get("axis", 0) % rank + 1
        inputs = [node.input[0], self._keep(f"{node.output[0]}_indices", indices)]
        self._put("Gather", inputs, node.output[0], rank - 1 + indices.ndim, axis=axis)

    def _reshaped(self, node: onnx.NodeProto, values: dict[str, Any]) -> None:
        if len(node.input) != 2:
            raise _NoStackedFormError(node.op_type)
        rank, numbers = self._rank(node.input[0]), self._constant(node.input[1])
        if values.get("allowzero", 0) and 0 in numbers:
            raise _NoStackedFormError(node.op_type)
        if node.op_type == "Squeeze":
            axes, after = numbers % rank + 1, rank - len(numbers)
        else:  # 0: as many as there were at this place
            axes, after = np.array([0, *numbers], dtype=np.int64), len(numbers)
        self._put(node.op_type, [node.input[0], self._keep(f"{node.output[0]}_sizes", axes)], node.output[0], after)

    def _widened(self, name: str, rank: int) -> str:
        """The value with dimensions of 1 behind the models, so that it meets one of more dimensions as before."""
        missing = rank - self._rank(name)
        if not missing:
            return name
        output = f"{name}_{len(self._nodes)}"
        axes = self._keep(f"{output}_axes", np.arange(1, missing + 1, dtype=np.int64))
        return self._put("Unsqueeze", [name, axes], output, rank)

    def _put(self, kind: str, inputs: Sequence[str], output: str, rank: int, **values: Any) -> str:
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **values))
        self._ranks[output] = rank
        return output

    def _keep(self, name: str, value: Any) -> str:
        self._made.append(numpy_helper.from_array(np.asarray(value, dtype=np.int64), name))
        return name

    def _rank(self, name: str) -> int:
        if name not in self._ranks:
            raise _NoStackedFormError(name)
        return self._ranks[name]

    def _constant(self, name: str) -> Any:
        if name not in self._constants:
            raise _NoStackedFormError(name)
        return self._constants[name]


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    return dim.dim_value or "rows"
