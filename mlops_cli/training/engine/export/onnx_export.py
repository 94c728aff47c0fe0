"""Export of a trained Ludwig module to ONNX: once per architecture; then each model's weights are filled in.

`torch.onnx.export` takes longer than training a model. So each architecture is exported once with *marked*
weights: every element of every parameter and buffer is a different number. The exporter renames, transposes, joins and
re-orders weights, but a mark still shows from which element each constant of the graph came, and a model's own weight
replaces it. If the exporter's optimiser computes new constants from weights (e.g. for batch normalisation), the graph
before the optimisation is used. Every model's graph is compared with Ludwig's predictions, and refused if they differ.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from mlops_cli.errors import TrainingError
from mlops_cli.models.graph import INPUT, OPSET, OUTPUT, RAW_OUTPUT
from mlops_cli.system.files import write_whole
from mlops_cli.training.ludwig_config import TARGET, TICKER, InputSlice

# Marks are far larger than any constant of an exporter (axes, epsilons, limits), and float32 is exact for all of them.
FIRST_MARK = 2**21
LAST_MARK = 2**24
EXPORT_VERSION = 1  # increase it if a code change makes the same architecture export to a different graph
ENCODER_OUTPUT = "encoder_output"  # Ludwig's name for it
UNKNOWN = "<UNK>"  # Ludwig's category for values that are not in its vocabulary
LEAST_CLOSE = 0.01  # a predicted close is at least 1 % of the last one, so that its logarithm exists


class Forecaster(torch.nn.Module):
    """A Ludwig ECD with its normalisation inside: raw feature columns in, log returns out.

    Args:
        ecd: the trained Ludwig module.
        layout: the columns of each Ludwig input.
        columns: number of input columns.
        metadata: Ludwig's training-set metadata (normalisation of each feature).
        close_column: column of the last close if the model predicts a close; None if it predicts a return.
        ticker: for a pooled model: the category that becomes a constant of the graph.
    """

    def __init__(
        self,
        ecd: Any,
        layout: Sequence[InputSlice],
        columns: int,
        metadata: dict[str, Any],
        close_column: int | None,
        ticker: str | None = None,
    ) -> None:
        super().__init__()
        self.ecd = ecd
        self.shift: torch.Tensor
        self.scale: torch.Tensor
        self.target_shift: torch.Tensor
        self.target_scale: torch.Tensor
        self.shrinkage: torch.Tensor
        self.layout = tuple(layout)
        self.close_column = close_column
        shift, scale = np.zeros(columns, np.float32), np.ones(columns, np.float32)
        for part in layout:
            if part.width == 1:
                shift[part.start], scale[part.start] = linear_normalisation(part.name, metadata[part.name])
        target_shift, target_scale = linear_normalisation(TARGET, metadata[TARGET])
        self.register_buffer("shift", torch.from_numpy(shift))
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("target_shift", torch.tensor(target_shift, dtype=torch.float32))
        self.register_buffer("target_scale", torch.tensor(target_scale, dtype=torch.float32))
        self.register_buffer("shrinkage", torch.tensor(1.0))
        # a buffer, so that it is filled into the exported graph like a weight
        self.category: torch.Tensor | None
        self.register_buffer("category", None if ticker is None else _encoded_ticker(ecd, metadata, ticker))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shrunk and unshrunk log return, float32, (rows,) each, of raw `features`, float32, (rows, columns)."""
        # not ecd(inputs): it counts used tokens with Python numbers, which would fix the number of rows at export
        decoded = self.ecd.decode(self.ecd.combine(self.encode(features)), None, None)
        output = self.ecd.output_features.get(TARGET)
        predicted = output.predictions(decoded, TARGET)["predictions"].reshape(-1)
        raw = predicted * self.target_scale + self.target_shift
        if self.close_column is not None:
            last_close = features[:, self.close_column]
            raw = torch.log(torch.maximum(raw / last_close, torch.full_like(raw, LEAST_CLOSE)))
        return raw * self.shrinkage, raw

    def encode(self, features: torch.Tensor) -> dict[str, Any]:
        """The output of the model's encoders for raw columns, by input feature; see `forward`."""
        x = (features - self.shift) / self.scale
        encoded: dict[str, Any] = self.ecd.encode({part.name: part.of(x) for part in self.layout})
        if self.category is None:
            return encoded
        encoded[TICKER] = {ENCODER_OUTPUT: self.category.expand(features.shape[0], -1)}
        # combiners depend on the order of the inputs
        return {name: encoded[name] for name in self.ecd.input_features.keys()}  # noqa: SIM118 - Ludwig's own mapping

    def architecture(self) -> str:
        """A text that is equal for models that differ in their weights only."""
        shapes = [(name, tuple(tensor.shape)) for name, tensor in self.state_dict().items()]
        config = self.ecd.config_obj.to_dict()  # settings such as heads or strides cannot be seen from the shapes
        features = [
            {key: value for key, value in feature.items() if key != "preprocessing"}
            for feature in (*config["input_features"], *config["output_features"])
        ]
        parts = [repr(self.layout), self.close_column, shapes, features, config["combiner"]]
        return json.dumps(parts, sort_keys=True, default=str)


def _encoded_ticker(ecd: Any, metadata: dict[str, Any], ticker: str) -> torch.Tensor:
    categories = metadata[TICKER]["str2idx"]
    index = torch.tensor([categories.get(ticker, categories.get(UNKNOWN, 0))], dtype=torch.int32)
    with torch.no_grad():
        encoded: torch.Tensor = ecd.input_features.get(TICKER)(index)[ENCODER_OUTPUT]
    return encoded.detach().to(torch.float32).reshape(1, -1).clone()


def linear_normalisation(name: str, metadata: dict[str, Any]) -> tuple[float, float]:
    """Shift and scale with which Ludwig normalises a number: (x - shift) / scale.

    Raises:
        TrainingError: a normalisation that is not linear, or outlier replacement.
    """
    settings = metadata["preprocessing"]
    if settings.get("outlier_strategy") is not None:
        raise TrainingError(
            f"feature {name}: outlier_strategy is not supported in the exported model", "leave outlier_strategy out"
        )
    match settings.get("normalization"):
        case None:
            return 0.0, 1.0
        case "zscore":
            return float(metadata["mean"]), float(metadata["std"]) or 1.0
        case "minmax":
            return float(metadata["min"]), (float(metadata["max"]) - float(metadata["min"])) or 1.0
        case "iq":
            return float(metadata["q2"]), float(metadata["q3"]) - float(metadata["q1"])
        case other:
            raise TrainingError(
                f"feature {name}: normalization {other} is not supported in the exported model",
                "use zscore, minmax, iq or null",
            )


class GraphTemplate:
    """An exported architecture whose constants are filled with a model's weights.

    Args:
        forecaster: any model of the architecture; its own weights do not matter.
        columns: number of input columns.
        cache: folder that keeps exported architectures between processes.

    Raises:
        TrainingError: the model is too large, or torch exports no graph.
    """

    def __init__(self, forecaster: Forecaster, columns: int, cache: Path) -> None:
        self._end = FIRST_MARK + sum(tensor.numel() for tensor in _weights(forecaster).values())
        if self._end > LAST_MARK:
            raise TrainingError(
                f"the model has over {LAST_MARK - FIRST_MARK:,} weights: too large for a shared export",
                "use fewer or smaller layers",
            )
        libraries = f"torch {torch.__version__} ludwig {version('ludwig')}"
        content = f"{forecaster.architecture()} {libraries} graph {OPSET}.{EXPORT_VERSION}"
        path = cache / f"{hashlib.sha256(content.encode()).hexdigest()}.onnx"
        try:
            self._graph = onnx.load(path)
        except (FileNotFoundError, DecodeError):  # not exported yet, or the file is damaged
            self._graph = _export(_marked(forecaster), columns, self._end)
            write_whole(path, partial(onnx.save, self._graph))
        self._sources = _constants(self._graph)

    def fill(self, forecaster: Forecaster) -> onnx.ModelProto:
        """Return the graph with this model's weights."""
        flat = np.concatenate([tensor.detach().cpu().numpy().ravel() for tensor in _weights(forecaster).values()])
        graph = onnx.ModelProto()
        graph.CopyFrom(self._graph)
        for initializer in graph.graph.initializer:
            marks = self._sources.get(initializer.name)
            if marks is not None:
                initializer.CopyFrom(numpy_helper.from_array(_unmark(marks, flat, self._end), initializer.name))
        return graph


def _marked(forecaster: Forecaster) -> Forecaster:
    marked = copy.deepcopy(forecaster).eval()
    first = FIRST_MARK
    with torch.no_grad():
        for tensor in _weights(marked).values():
            last = first + tensor.numel()
            tensor.copy_(torch.arange(first, last, dtype=torch.float32).reshape(tensor.shape))
            first = last
    return marked


def _weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Float parameters and buffers by name, in a fixed order."""
    return {name: t for name, t in module.state_dict(keep_vars=True).items() if t.dtype == torch.float32}


def _unmark(marks: npt.NDArray[np.float32], flat: npt.NDArray[np.float32], end: int) -> npt.NDArray[np.float32]:
    """Replace each mark by its weight; other constants (and zeros joined to biases) stay."""
    is_mark = (marks >= FIRST_MARK) & (marks < end)
    positions = np.where(is_mark, marks - FIRST_MARK, 0).astype(np.int64)
    return np.where(is_mark, flat[positions], marks).astype(np.float32)


def _export(module: Forecaster, columns: int, end: int) -> onnx.ModelProto:
    example = torch.zeros((4, columns))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of torch's exporter about recurrent layers and deprecations
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("rows", min=1)},),
            input_names=[INPUT],
            output_names=[OUTPUT, RAW_OUTPUT],
            opset_version=OPSET,
            verbose=False,
            optimize=False,
        )
        if program is None:
            raise TrainingError("torch.onnx.export returned no graph")
        # torch writes stack traces into every node; they contain local paths and make the file five times as large
        holders: list[Any] = [program.model, program.model.graph, *program.model.graph.all_nodes()]
        for holder in holders:
            holder.metadata_props.clear()
        plain: onnx.ModelProto = program.model_proto
        program.optimize()
        optimised: onnx.ModelProto = program.model_proto
    return optimised if np.array_equal(_marks(optimised, end), _marks(plain, end)) else plain


def _marks(graph: onnx.ModelProto, end: int) -> npt.NDArray[np.float32]:
    """The distinct marks in a graph's constants, in ascending order."""
    values = np.unique(np.concatenate([constant.ravel() for constant in _constants(graph).values()]))
    return values[(values >= FIRST_MARK) & (values < end)]


def _constants(graph: onnx.ModelProto) -> dict[str, npt.NDArray[np.float32]]:
    return {
        initializer.name: numpy_helper.to_array(initializer)
        for initializer in graph.graph.initializer
        if initializer.data_type == onnx.TensorProto.FLOAT
    }
