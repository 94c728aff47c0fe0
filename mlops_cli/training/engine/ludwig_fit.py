"""Training of one model with the real Ludwig, inside the worker process: the only module that imports it."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
import torch
from ludwig.api import LudwigModel
from ludwig.config_validation.validation import get_validator

from mlops_cli.errors import ConfigError, TrainingError, bounded
from mlops_cli.training.ludwig_config import (
    HISTORY,
    SPLIT,
    TARGET,
    build_config,
    history_inputs,
    layout,
)
from mlops_cli.training.ludwig_refusal import refusal_text, unknown_keys
from mlops_cli.training.onnx_export import LEAST_CLOSE, Forecaster, GraphTemplate
from mlops_cli.training.onnx_graph import INPUT, LARGEST_LOG_RETURN, RAW_OUTPUT
from mlops_cli.training.onnx_session import SESSION_FAILURES, start_session
from mlops_cli.training.rows import read_rows
from mlops_cli.training.trainer import Fitted, TrainJob

WEIGHTS, METADATA, SETTINGS = (
    "model_weights.safetensors",
    "training_set_metadata.json",
    "model_hyperparameters.json",
)
AGREEMENT = 1e-5  # largest difference of log returns between the exported graph and Ludwig's own predict
COMPARED_ROWS = 256
HELP = "see docs/ludwig-configs.md"
LOWER_RATE = "lower trainer.learning_rate"
OTHER_ARCHITECTURE = "it cannot be served; use another encoder or combiner"

# What Ludwig, torch and ONNX Runtime raise for a config, data and options that do not fit together. They promise no
# classes of their own: a wrong shape may be a TypeError, a missing optional package an ImportError.
LIBRARY_FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    *SESSION_FAILURES,
)

# Ludwig checks its own schema each time a model is built: 99 % of the constructor. The user's config is still checked.
get_validator().check_schema = classmethod(lambda cls, *args, **kwargs: None)


class LudwigFitter:
    """Fits jobs one after another; keeps the exported graph of each architecture it has met.

    Args:
        graphs: folder that keeps exported architectures between processes.
    """

    def __init__(self, graphs: Path) -> None:
        self._graphs = graphs
        self._templates: dict[str, GraphTemplate] = {}

    def fit(self, job: TrainJob) -> Fitted:
        """Train, save Ludwig's files and the checked ONNX graph into `job.folder`.

        Raises:
            ConfigError: Ludwig refuses the config.
            TrainingError: the training broke down, or the graph does not agree with Ludwig.
        """
        config = build_config(job.spec, job.inputs)
        rows = training_rows(job)
        model = _model(job, config)
        epochs = _train(job, model, rows)
        forecaster = _forecaster(job, config, model)
        difference = self._export(job, forecaster, model, rows)
        return Fitted(
            job,
            epochs=epochs,
            facts={
                "parameters": sum(weights.numel() for weights in forecaster.ecd.parameters()),
                "best_epoch": int(np.nanargmin([epoch["validation_loss"] for epoch in epochs])) + 1,
                "onnx_difference": difference,
            },
        )

    def _export(self, job: TrainJob, forecaster: Forecaster, model: LudwigModel, rows: pd.DataFrame) -> float:
        path = job.folder / "model.onnx"
        with _refusing(f"{job.spec.name}: this architecture cannot be exported", OTHER_ARCHITECTURE):
            key = forecaster.architecture()
            if key not in self._templates:
                self._templates[key] = GraphTemplate(forecaster, len(job.inputs), self._graphs)
            onnx.save(self._templates[key].fill(forecaster), path)
            ours, ludwigs = _graph_forecasts(path, job, rows), _ludwig_forecasts(model, job, rows)
        largest = float(np.abs(ludwigs).max())
        if not largest <= LARGEST_LOG_RETURN:
            raise TrainingError(
                f"{job.spec.name}: training diverged, it forecasts log returns of {largest:.2g}", LOWER_RATE
            )
        difference = float(np.abs(ours - ludwigs).max())
        if not difference <= AGREEMENT:
            raise TrainingError(
                f"{job.spec.name}: the exported graph differs from Ludwig's predict by {difference:.2g} "
                f"(allowed: {AGREEMENT:g})",
                OTHER_ARCHITECTURE,
            )
        return difference


def _forecaster(job: TrainJob, config: dict[str, Any], model: LudwigModel) -> Forecaster:
    ecd: Any = model.model
    metadata: Any = model.training_set_metadata
    close_column = job.inputs.index("close") if job.spec.target == "close" else None
    parts = layout(config, job.inputs)
    return Forecaster(ecd.cpu().eval(), parts, len(job.inputs), metadata, close_column).eval()


def training_rows(job: TrainJob) -> pd.DataFrame:
    """The job's rows in the form Ludwig reads: input columns, `history` as text, target, split 0/1 by date.

    Raises:
        DataError: the feature table is missing or damaged.
    """
    seen = read_rows(job)
    steps = history_inputs(job.inputs)
    plain = [name for name in job.inputs if name not in steps]
    rows = seen[[*plain, TARGET]].astype(np.float32)
    if steps:
        values = seen[steps].to_numpy(np.float32)
        rows[HISTORY] = [" ".join(f"{value:.9g}" for value in row) for row in values]
    rows[SPLIT] = np.where(seen.index < pd.Timestamp(job.validation_start), 0, 1)
    return rows.reset_index(drop=True)


def _model(job: TrainJob, config: dict[str, Any]) -> LudwigModel:
    where = job.spec.file or job.spec.name
    try:
        model = LudwigModel(config, logging_level=logging.ERROR)
    except LIBRARY_FAILURES as refusal:
        raise ConfigError(f"{where}: Ludwig refuses the config: {refusal_text(refusal)}", HELP) from refusal
    unknown = unknown_keys(config, model.config_obj.to_dict())
    if unknown:
        hint = f"Ludwig itself would pass over these keys silently; {HELP}"
        raise ConfigError(f"{where}: Ludwig knows no {bounded(unknown)}", hint)
    return model


def _train(job: TrainJob, model: LudwigModel, rows: pd.DataFrame) -> list[dict[str, float]]:
    # inside the job's folder: when this process is killed, what it leaves is removed with that
    with tempfile.TemporaryDirectory(dir=job.folder) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _refusing(f"{job.spec.name}: training broke down", HELP):
            results = model.train(
                dataset=rows,
                output_directory=scratch,
                random_seed=job.seed,
                skip_save_processed_input=True,
                skip_save_log=True,
                skip_save_progress=True,
                skip_save_training_description=True,
                skip_save_training_statistics=True,
            )
        epochs = _losses(results.train_stats)
        if not epochs:
            hint = "leave trainer.skip_all_evaluation out"
            raise TrainingError(f"{job.spec.name}: training gave no validation loss", hint)
        if not np.isfinite([epoch["validation_loss"] for epoch in epochs]).any():
            raise TrainingError(f"{job.spec.name}: the validation loss is not a number", LOWER_RATE)
        _keep(Path(results.output_directory) / "model", job.folder / "ludwig")
    return epochs


def _keep(saved: Path, target: Path) -> None:
    target.mkdir()
    for name in (WEIGHTS, SETTINGS):
        shutil.copyfile(saved / name, target / name)
    metadata = json.loads((saved / METADATA).read_text())
    del metadata["checksum"]  # of a UUID of this training, for Ludwig's cache: equal trainings would give unequal files
    (target / METADATA).write_text(json.dumps(metadata, indent=4))


def _losses(statistics: Any) -> list[dict[str, float]]:
    """Losses of each epoch; without the training loss where the config switches its evaluation off."""
    validation = statistics.validation.get("combined", {}).get("loss", [])
    training = statistics.training.get("combined", {}).get("loss", [])
    epochs = [{"validation_loss": float(loss)} for loss in validation]
    for epoch, loss in zip(epochs, training, strict=False):
        epoch["train_loss"] = float(loss)
    return epochs


def _ludwig_forecasts(model: LudwigModel, job: TrainJob, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    compared = rows.tail(COMPARED_ROWS)
    predicted, _ = model.predict(dataset=compared, skip_save_predictions=True)
    forecasts: npt.NDArray[np.float64] = predicted[f"{TARGET}_predictions"].to_numpy(np.float64)
    if job.spec.target == "close":
        forecasts = np.log(np.maximum(forecasts / compared["close"].to_numpy(np.float64), LEAST_CLOSE))
    return forecasts


def _graph_forecasts(path: Path, job: TrainJob, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    compared = rows.tail(COMPARED_ROWS)
    inputs = compared.reindex(columns=list(job.inputs)).to_numpy(np.float32, copy=True)
    steps = history_inputs(job.inputs)
    if steps:
        first = job.inputs.index(steps[0])
        parsed = [np.array(text.split(), dtype=np.float32) for text in compared[HISTORY]]
        inputs[:, first : first + len(steps)] = np.stack(parsed)
    (raw,) = start_session(path.read_bytes()).run([RAW_OUTPUT], {INPUT: inputs})
    return np.asarray(raw, dtype=np.float64)


@contextmanager
def _refusing(what: str, hint: str) -> Iterator[None]:
    """Turn what the libraries raise into words for the user.

    Raises:
        TrainingError: instead of any of `LIBRARY_FAILURES`.
    """
    try:
        yield
    except LIBRARY_FAILURES as failure:
        raise TrainingError(f"{what}: {refusal_text(failure)}", hint) from failure


def prepare_process() -> None:
    """Settle what may be set once per process: one thread (per-stock models are too small for more)."""
    torch.set_num_threads(1)
    logging.getLogger("ludwig").setLevel(logging.ERROR)
