"""Forecasts from a model folder: values, shapes, and every kind of damage as an error with a name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.errors import ModelError
from mlops_cli.models.base import forecast_constants, wrap_graph
from mlops_cli.models.graph import INPUT, OPSET, OUTPUT, RAW_OUTPUT, SHRINKAGE, constant_return_graph, set_constants
from mlops_cli.models.predict import Model, load_session, run_session
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import INPUTS, INTERCEPT, WEIGHTS, model_folder

REPOSITORY = Path(__file__).resolve().parents[3]


def rows(count: int = 5, seed: int = 0) -> pd.DataFrame:
    """A feature table with columns in another order than the graph's, and some that it does not want."""
    values = 0.02 * np.random.default_rng(seed).standard_normal((count, 3))
    index = pd.date_range("2020-01-01", periods=count, name="session")
    return pd.DataFrame(values, index=index, columns=list(INPUTS)).assign(last_close=1.0)[
        ["last_close", *reversed(INPUTS)]
    ]


def recurrent_graph(steps: int) -> onnx.ModelProto:
    """A GRU over the columns, one number a step: what aborts the process when it gets no rows."""
    random = np.random.default_rng(0)
    constants = {
        "W": random.standard_normal((1, 12, 1)),
        "R": random.standard_normal((1, 12, 4)),
        "column": np.array([1], np.int64),
        "shape": np.array([-1], np.int64),
        "weights": random.standard_normal((4, 1)),
        "axes": np.array([2], np.int64),
        "shrinkage": np.array(1.0),
    }
    nodes = [
        helper.make_node("Transpose", [INPUT], ["turned"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["turned", "axes"], ["sequence"]),
        helper.make_node("GRU", ["sequence", "W", "R"], ["", "last"], hidden_size=4),
        helper.make_node("MatMul", ["last", "weights"], ["product"]),
        helper.make_node("Reshape", ["product", "shape"], [RAW_OUTPUT]),
        helper.make_node("Mul", [RAW_OUTPUT, "shrinkage"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", steps])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows"]) for name in (OUTPUT, RAW_OUTPUT)],
        [
            numpy_helper.from_array(value if value.dtype == np.int64 else value.astype(np.float32), name)
            for name, value in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model.open(model_folder(tmp_path))


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_every_row_is_forecast_from_the_columns_of_the_manifest(model: Model, count: int):
    table = rows(count)
    shrunk, raw = model.log_returns(table)
    expected = table[list(INPUTS)].to_numpy() @ WEIGHTS + INTERCEPT
    np.testing.assert_allclose(raw, expected, atol=1e-8)
    np.testing.assert_array_equal(shrunk, raw)
    assert (raw.dtype, raw.shape, shrunk.dtype, shrunk.shape) == (np.float64, (count,), np.float64, (count,))


def test_shrunk_and_raw_are_told_apart(model: Model):
    graph = model.folder / "model.onnx"
    set_constants(graph, graph, {SHRINKAGE: 0.25})
    shrunk, raw = model.log_returns(rows())
    np.testing.assert_allclose(shrunk, 0.25 * raw, rtol=1e-6)


def test_one_row_at_a_time_is_the_same_as_all_at_once(model: Model):
    table = rows(20)
    _, together = model.log_returns(table)
    alone = [model.log_returns(table.iloc[[row]])[1][0] for row in range(20)]
    np.testing.assert_allclose(alone, together, atol=1e-9)


def test_no_rows_give_no_forecasts(model: Model):
    shrunk, raw = model.log_returns(rows(0))
    assert shrunk.shape == raw.shape == (0,)
    assert shrunk.dtype == raw.dtype == np.float64


def test_no_rows_never_reach_a_recurrent_graph(tmp_path: Path):
    """ONNX Runtime ends the whole process when such a graph gets zero rows; so this runs in one of its own."""
    model_folder(tmp_path, "gru", recurrent_graph(3))
    script = tmp_path / "forecast.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "import pandas\n"
        "from mlops_cli.models.predict import Model\n"
        "model = Model.open(Path(sys.argv[1]))\n"
        "table = pandas.DataFrame(columns=list(model.manifest.inputs), dtype=float)\n"
        "print([len(part) for part in model.log_returns(table)])\n"
        "table.loc[0] = 0.1\n"
        "print([len(part) for part in model.log_returns(table)])\n"
    )
    command = [sys.executable, str(script), str(tmp_path / "gru")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[0, 0]\n[1, 1]\n"), done.stderr


def test_missing_columns_are_named(model: Model):
    with pytest.raises(ModelError) as refusal:
        model.log_returns(rows()[["return_5"]])
    assert refusal.value.message == "red-acme: the feature table lacks return_1, volatility_5"
    with pytest.raises(ModelError, match="lacks return_1"):
        model.log_returns(rows(0).drop(columns="return_1"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize(
    "graph", [linear_graph(WEIGHTS, 0.1), constant_return_graph(3, 0.1)], ids=["linear", "constant"]
)
def test_an_input_that_is_no_number_is_refused_whatever_the_graph(tmp_path: Path, graph: onnx.ModelProto, value: float):
    model = Model.open(model_folder(tmp_path, graph=graph))
    table = rows(4)
    table.loc[table.index[1:3], "return_5"] = value
    with pytest.raises(ModelError) as refusal:
        model.log_returns(table)
    assert refusal.value.message == "red-acme: return_5: not a number for 2 of 4 rows, the first 2020-01-02 00:00:00"


def test_columns_that_the_graph_does_not_want_may_hold_anything(model: Model):
    assert len(model.log_returns(rows().assign(target=np.nan, ticker="ACME"))[0]) == 5


@pytest.mark.parametrize("weight", [np.nan, 1e38, 1e6])
def test_a_forecast_that_gives_no_price_is_refused(tmp_path: Path, weight: float):
    model = Model.open(model_folder(tmp_path, graph=linear_graph(np.array([weight, 0, 0]), 0.0)))
    table = rows(3).assign(return_1=[0.0 if weight == weight else 1.0, 50.0, 50.0])
    with pytest.raises(ModelError, match=r"red-acme: no usable forecast for [23] of 3 rows, the first 2020-01-0"):
        model.log_returns(table)


def test_a_shrinkage_that_is_no_number_is_refused(model: Model):
    graph = model.folder / "model.onnx"
    set_constants(graph, graph, {SHRINKAGE: float("nan")})
    with pytest.raises(ModelError, match="no usable forecast for 5 of 5 rows"):
        model.log_returns(rows())


def test_an_unfinished_model_is_not_opened(tmp_path: Path):
    folder = model_folder(tmp_path, shrinkage=None)
    with pytest.raises(ModelError, match="training was not finished"):
        Model.open(folder)


def test_opening_does_not_load_the_graph(tmp_path: Path):
    folder = model_folder(tmp_path)
    (folder / "model.onnx").unlink()
    model = Model.open(folder)
    with pytest.raises(ModelError) as refusal:
        model.log_returns(rows())
    assert refusal.value.message == f"{folder / 'model.onnx'} is missing"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"this is text\n" * 20,
        lambda data: b"\x00" * len(data),
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:10],
    ],
    ids=["empty", "text", "zeros", "last byte missing", "half", "beginning"],
)
def test_a_damaged_graph_is_named(tmp_path: Path, damage):
    folder = model_folder(tmp_path)
    graph = folder / "model.onnx"
    graph.write_bytes(damage(graph.read_bytes()))
    with pytest.raises(ModelError) as refusal:
        Model.open(folder).log_returns(rows())
    assert refusal.value.message.startswith(f"{graph}: damaged: ")
    assert refusal.value.hint == f"remove {folder} and run: mlops train"


def test_a_graph_cut_off_anywhere_is_damaged(tmp_path: Path):
    data = linear_graph(WEIGHTS, INTERCEPT).SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match="damaged"):
            load_session(path)


def renamed_outputs() -> onnx.ModelProto:
    graph = linear_graph(WEIGHTS, INTERCEPT)
    text = graph.SerializeToString().replace(RAW_OUTPUT.encode(), b"sum_log_return")
    return onnx.load_from_string(text)


@pytest.mark.parametrize(
    "graph",
    [
        linear_graph(np.ones(4), 0.0),
        renamed_outputs(),
        onnx.load_from_string(linear_graph(WEIGHTS, 0.0).SerializeToString().replace(b"features", b"features"[::-1])),
    ],
    ids=["another width", "other outputs", "another input"],
)
def test_a_graph_that_does_not_fit_its_manifest_is_refused(tmp_path: Path, graph: onnx.ModelProto):
    model = Model.open(model_folder(tmp_path, graph=graph))
    with pytest.raises(ModelError, match="red-acme: the graph does not fit its manifest"):
        model.log_returns(rows())


def test_a_session_can_be_run_by_itself(tmp_path: Path):
    folder = model_folder(tmp_path)
    forecasts = run_session(load_session(folder / "model.onnx"), rows(), INPUTS, "any")
    np.testing.assert_array_equal(forecasts.log_return, Model.open(folder).log_returns(rows())[0])


class TestIntervals:
    LEVELS = (80.0, 95.0)
    COLUMNS = (*INPUTS, "width_80", "width_95")

    def open(self, folder: Path, **changes: Any) -> Model:
        made = model_folder(folder, **{"inputs": self.COLUMNS, "levels": self.LEVELS, **changes})
        wrap_graph(made / "model.onnx", 3, 2, dividend=False)
        return Model.open(made)

    def table(self, count: int = 5, **changes: float) -> pd.DataFrame:
        return rows(count).assign(**{"width_95": 0.04, "width_80": 0.02, **changes})

    @pytest.mark.parametrize("count", [1, 5])
    def test_bounds_are_by_level_lower_before_upper(self, tmp_path: Path, count: int) -> None:
        model, table = self.open(tmp_path), self.table(count)
        forecasts = model.forecasts(table)
        assert forecasts.interval is not None
        assert (forecasts.interval.dtype, forecasts.interval.shape) == (np.float64, (count, 4))
        expected = forecasts.log_return[:, None] + np.array([-0.02, 0.02, -0.04, 0.04])
        np.testing.assert_allclose(forecasts.interval, expected, atol=1e-8)
        shrunk, raw = model.log_returns(table)
        np.testing.assert_array_equal(forecasts.log_return, shrunk)
        np.testing.assert_array_equal(forecasts.raw_log_return, raw)

    def test_a_model_from_before_there_were_intervals_has_none(self, tmp_path: Path) -> None:
        forecasts = Model.open(model_folder(tmp_path)).forecasts(rows())
        assert forecasts.interval is None
        assert len(forecasts.log_return) == 5

    def test_no_rows_give_no_intervals(self, tmp_path: Path) -> None:
        forecasts = self.open(tmp_path).forecasts(self.table(0))
        assert forecasts.interval is not None
        assert forecasts.interval.shape == (0, 4)

    def test_a_graph_without_the_intervals_of_its_manifest_is_refused(self, tmp_path: Path) -> None:
        model = Model.open(model_folder(tmp_path, levels=self.LEVELS))
        with pytest.raises(ModelError, match="does not fit its manifest"):
            model.forecasts(self.table())

    def test_a_graph_with_intervals_of_other_levels_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"does not fit its manifest.*3 intervals"):
            self.open(tmp_path, levels=(80.0, 90.0, 95.0)).forecasts(self.table(width_90=0.03))

    @pytest.mark.parametrize("width", [-0.01, 3e38])
    def test_an_interval_that_does_not_hold_the_forecast_or_is_endless_is_refused(
        self, tmp_path: Path, width: float
    ) -> None:
        model = self.open(tmp_path)
        graph = model.folder / "model.onnx"
        set_constants(graph, graph, forecast_constants(1.0, 0.0, 2, factor=2.0))
        with pytest.raises(ModelError, match="no usable forecast for 5 of 5 rows"):
            model.forecasts(self.table(width_95=width))

    def test_without_one_of_its_widths_it_forecasts_without_intervals(self, tmp_path: Path) -> None:
        """The table of other levels, from which an earlier version still answers."""
        model, table = self.open(tmp_path), self.table()
        forecasts = model.forecasts(table.drop(columns="width_80"))
        assert forecasts.interval is None
        assert forecasts.log_return.tolist() == model.forecasts(table).log_return.tolist()
