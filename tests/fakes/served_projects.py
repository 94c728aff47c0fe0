"""Projects with model folders that no training made, and `mlops serve` over them, as a process of its own."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import yaml
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.models.graph import INPUT, IR_VERSION, OPSET, OUTPUT, RAW_OUTPUT, SHRINKAGE
from mlops_cli.models.manifest import GRAPH, file_hashes
from mlops_cli.models.store import install
from tests.fakes.live_servers import live
from tests.fakes.model_folders import manifest_of

BRANCH = "main"
COLUMNS = tuple(f"return_{days}" for days in range(1, 21))
HIDDEN = 64


def mlp_graph(seed: int, hidden: int = HIDDEN) -> onnx.ModelProto:
    """Two layers over `COLUMNS`, with random weights; of 64, the shape of what the demo trains."""
    random = np.random.default_rng(seed)
    shapes = ((len(COLUMNS), hidden), (hidden, hidden), (hidden, 1))
    nodes, constants, given = [], {SHRINKAGE: np.array(0.5)}, INPUT
    for index, shape in enumerate(shapes):
        constants |= {
            f"w{index}": random.standard_normal(shape) / hidden,
            f"b{index}": random.standard_normal(shape[1]),
        }
        nodes.append(helper.make_node("Gemm", [given, f"w{index}", f"b{index}"], [f"h{index}"]))
        given = f"h{index}"
        if index < len(shapes) - 1:
            nodes.append(helper.make_node("Relu", [given], [f"r{index}"]))
            given = f"r{index}"
    nodes += [
        helper.make_node("Squeeze", [given, "axis"], [RAW_OUTPUT]),
        helper.make_node("Mul", [RAW_OUTPUT, SHRINKAGE], [OUTPUT]),
    ]
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([1]), "axis"))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", len(COLUMNS)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows"]) for name in (OUTPUT, RAW_OUTPUT)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def served_project(
    root: Path, names: Sequence[str], serving: Mapping[str, Any] | None = None, hidden: int = HIDDEN
) -> Path:
    """A project with these models, each with weights of its own."""
    root.mkdir(parents=True)
    params = {"branches": {BRANCH: {"collection": ["configs"]}}, "serving": dict(serving or {})}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    for seed, name in enumerate(names):
        install_model(root, name, seed, hidden)
    return root


def install_model(root: Path, name: str, seed: int, hidden: int = HIDDEN) -> None:
    """Put a model, or the next version of it, in its place the way `mlops train` does."""
    install_graph(root, name, mlp_graph(seed, hidden), f"{name}-{seed}")


def install_graph(root: Path, name: str, graph: onnx.ModelProto, folder: str = "any") -> None:
    """Put any graph in the place of a model, built in a folder of this name."""
    staged = root / "models" / ".staging" / BRANCH / folder
    staged.mkdir(parents=True)
    onnx.save(graph, staged / GRAPH)
    ticker = name.partition("-")[2].upper()
    manifest_of(name, ticker=ticker, inputs=COLUMNS, shrinkage=0.5, files=file_hashes(staged)).write(staged)
    install(staged, root / "models" / BRANCH / name, keep=2)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; its headers' names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """`mlops serve`, running."""

    address: str
    process: subprocess.Popen[str]

    def ask(self, path: str, body: bytes | None = None, timeout: float = 30, **headers: str) -> Reply:
        """GET, or POST where there is a body, over a connection of its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address + path, data=body, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Reply(answer.status, _lower(answer.headers), answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return Reply(answer.code, _lower(answer.headers), answer.read())

    def infer(self, name: str, **changes: Any) -> Reply:
        """One row of zeros, or what is changed of that."""
        return self.ask(f"/v2/models/{name}/infer", infer_body(**changes), content_type="application/json")

    @property
    def processes(self) -> list[psutil.Process]:
        """The whole tree, the first process first."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    @property
    def memory(self) -> int:
        """Resident bytes of the tree."""
        return sum(process.memory_info().rss for process in self.processes)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name and labels."""
        lines = self.ask("/metrics").body.decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples}


def infer_body(**changes: Any) -> bytes:
    """Body of the Open Inference Protocol with one row of zeros; `changes` to its one input."""
    given = {"name": INPUT, "shape": [1, len(COLUMNS)], "datatype": "FP32", "data": [0.0] * len(COLUMNS)}
    return json.dumps({"inputs": [{**given, **changes}]}).encode()


@contextmanager
def serving(root: Path, *options: str) -> Iterator[Served]:
    """`mlops serve` over a project, from its first answer until the block ends."""
    with live(root, *options, OMP_NUM_THREADS="1") as found:
        yield Served(f"http://{found.host}", found.tree.process)


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
