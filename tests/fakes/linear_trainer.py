"""A trainer for tests: ridge regression in a real ONNX graph that reads its inputs. Cheap, exact, no Ludwig."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.models.graph import INPUT, IR_VERSION, OPSET, OUTPUT, RAW_OUTPUT, SHRINKAGE
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob


@dataclass
class LinearTrainer:
    """Trainer port; remembers what it trained.

    Attributes:
        trained: names, in order.
        interrupt_after: raise KeyboardInterrupt instead of training one more than this many.
        refuse: names of models that fail.
    """

    name: str = "linear"
    trained: list[str] = field(default_factory=list)
    interrupt_after: int | None = None
    refuse: tuple[str, ...] = ()

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        for job in jobs:
            if self.interrupt_after is not None and len(self.trained) >= self.interrupt_after:
                raise KeyboardInterrupt
            progress(f"training {job.spec.name}")
            if job.spec.name in self.refuse:
                yield FailedJob(job, f"{job.spec.name}: refused by the test")
                continue
            onnx.save(linear_graph(*ridge(job)), job.folder / "model.onnx")
            self.trained.append(job.spec.name)
            yield Fitted(job, epochs=[{"train_loss": 1.0, "validation_loss": 1.0}])


def ridge(job: TrainJob) -> tuple[np.ndarray, float]:
    """Weights and intercept on the job's training rows."""
    table = pd.read_parquet(job.features)
    rows = table.loc[(table.index < pd.Timestamp(job.validation_start)) & table["target"].notna()]
    x = rows[list(job.inputs)].to_numpy()
    y = np.log(rows["next_close"] / rows["last_close"]).to_numpy()
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-12
    z = (x - mean) / scale
    weights = np.linalg.solve(z.T @ z + 10.0 * np.eye(z.shape[1]), z.T @ (y - y.mean())) / scale
    return weights, float(y.mean() - mean @ weights)


def linear_graph(weights: np.ndarray, intercept: float) -> onnx.ModelProto:
    """A graph with the face of `onnx_graph`: raw = features @ weights + intercept."""
    nodes = [
        helper.make_node("MatMul", [INPUT, "weights"], ["product"]),
        helper.make_node("Add", ["product", "intercept"], [RAW_OUTPUT]),
        helper.make_node("Mul", [RAW_OUTPUT, SHRINKAGE], [OUTPUT]),
    ]
    constants = {"weights": weights, "intercept": np.array(intercept), SHRINKAGE: np.array(1.0)}
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", len(weights)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows"]) for name in (OUTPUT, RAW_OUTPUT)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
