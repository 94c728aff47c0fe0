"""Training of one model with Ludwig, inside a training process: no other process imports Ludwig."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
import torch
from ludwig.api import LudwigModel
from ludwig.backend.base import LocalBackend
from ludwig.config_validation.validation import get_validator

from mlops_cli.errors import ConfigError, TrainingError, bounded
from mlops_cli.models.graph import INPUT, RAW_OUTPUT
from mlops_cli.models.session import SESSION_FAILURES, start_session
from mlops_cli.training.engine.export.agreement import LOWER_RATE, OTHER_ARCHITECTURE, PriceScale, checked_difference
from mlops_cli.training.engine.export.onnx_export import LEAST_CLOSE, Forecaster, GraphTemplate
from mlops_cli.training.ludwig_config import TARGET, InputSlice, build_config, layout
from mlops_cli.training.ludwig_errors import refusal_text, unknown_keys
from mlops_cli.training.rows import raw_inputs, training_rows
from mlops_cli.training.trainer import Fitted, TrainJob

WEIGHTS, METADATA = "model_weights.safetensors", "training_set_metadata.json"
SETTINGS = "model_hyperparameters.json"
COMPARED_ROWS = 256
HELP = "see docs/ludwig-configs.md"

# Errors of Ludwig, torch and ONNX Runtime for config, data and options that do not fit together. They define no classes
# for this: a wrong shape may be a TypeError, a missing optional package an ImportError.
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


@dataclass(frozen=True)
class Trained:
    """A model with its best weights, its config and its losses; the folder of its job holds `ludwig/`."""

    config: dict[str, Any]
    model: LudwigModel
    epochs: list[dict[str, float]]


class LudwigFitter:
    """Fits jobs one after another, and keeps the exported graph of each architecture.

    Args:
        graphs: folder that keeps exported architectures between processes.
        backend: None: Ludwig's local backend.
    """

    def __init__(self, graphs: Path, backend: LocalBackend | None = None) -> None:
        self._graphs = graphs
        self._backend = backend
        self._templates: dict[str, GraphTemplate] = {}

    @property
    def writes(self) -> bool:
        """Whether this process writes the model: one of the processes that train together does."""
        return self._backend is None or bool(self._backend.is_coordinator())

    def fit(self, job: TrainJob) -> Fitted:
        """Train, save Ludwig's files and the checked ONNX graph into `job.folder`.

        Raises:
            ConfigError: Ludwig refuses the config.
            TrainingError: the training failed, or the graph does not agree with Ludwig.
        """
        rows = training_rows(job)
        return self.export(job, self.train(job, rows), rows)

    def train(self, job: TrainJob, rows: pd.DataFrame) -> Trained:
        """Train on `rows` (of `training_rows`) and save Ludwig's files; raises as `fit` does."""
        config = self.config(job)
        model = new_model(job, config, self._backend)
        return Trained(config, model, _train(job, model, rows, self.writes))

    def config(self, job: TrainJob) -> dict[str, Any]:
        """Ludwig's config for a job; raises as `build_config` does."""
        return build_config(job.spec, job.inputs)

    def export(self, job: TrainJob, trained: Trained, rows: pd.DataFrame) -> Fitted:
        """Write the ONNX graph for the job's ticker into `job.folder` and compare it with Ludwig on the job's `rows`.

        Raises:
            TrainingError: the training diverged, or the graph does not agree with Ludwig.
        """
        ecd: Any = trained.model.model
        metadata: Any = trained.model.training_set_metadata
        forecaster = make_forecaster(job, ecd.cpu().eval(), layout(trained.config, job.inputs), metadata)
        path = job.folder / "model.onnx"
        with refusing(f"{job.spec.name}: this architecture cannot be exported", OTHER_ARCHITECTURE):
            onnx.save(self.graph(forecaster, len(job.inputs)).fill(forecaster), path)
            ours, ludwigs = graph_forecasts(path, job, rows), _ludwig_forecasts(trained.model, job, rows)
        prices = price_scale(job, forecaster, rows.tail(COMPARED_ROWS))
        difference = checked_difference(job.spec.name, ours, ludwigs, prices)
        parameters = sum(weights.numel() for weights in forecaster.ecd.parameters())
        best = int(np.nanargmin([epoch["validation_loss"] for epoch in trained.epochs])) + 1
        facts = {"parameters": parameters, "best_epoch": best, "onnx_difference": difference}
        return Fitted(job, trained.epochs, facts)

    def graph(self, forecaster: Forecaster, columns: int) -> GraphTemplate:
        """The exported graph of a model's architecture, which is exported once."""
        key = forecaster.architecture()
        if key not in self._templates:
            self._templates[key] = GraphTemplate(forecaster, columns, self._graphs)
        return self._templates[key]


def make_forecaster(job: TrainJob, ecd: Any, parts: Sequence[InputSlice], metadata: dict[str, Any]) -> Forecaster:
    """The forecaster of a job's trained module `ecd`, whose normalisation is in Ludwig's `metadata`."""
    close_column = job.inputs.index("close") if job.spec.target == "close" else None
    ticker = job.spec.ticker if job.spec.pool else None
    return Forecaster(ecd, parts, len(job.inputs), metadata, close_column, ticker).eval()


def new_model(job: TrainJob, config: dict[str, Any], backend: LocalBackend | None = None) -> LudwigModel:
    """An untrained Ludwig model for a config.

    Raises:
        ConfigError: Ludwig refuses the config, or would ignore a part of it.
    """
    where = job.spec.file or job.spec.name
    try:
        # without a backend, Ludwig would use a Ray cluster that happens to run on this machine
        model = LudwigModel(config, logging_level=logging.ERROR, backend=backend or "local")
    except LIBRARY_FAILURES as refusal:
        raise ConfigError(f"{where}: Ludwig refuses the config: {refusal_text(refusal)}", HELP) from refusal
    unknown = unknown_keys(config, model.config_obj.to_dict())
    if unknown:
        hint = f"Ludwig itself would pass over these keys silently; {HELP}"
        raise ConfigError(f"{where}: Ludwig knows no {bounded(unknown)}", hint)
    return model


def _train(job: TrainJob, model: LudwigModel, rows: pd.DataFrame, writes: bool) -> list[dict[str, float]]:
    # inside the job's folder, which is removed if this process is killed
    with tempfile.TemporaryDirectory(dir=job.folder) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with refusing(f"{job.spec.name}: training failed", HELP):
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
        if writes:
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
    """Losses of each epoch; without the training loss if the config does not evaluate it."""
    validation = statistics.validation.get("combined", {}).get("loss", [])
    training = statistics.training.get("combined", {}).get("loss", [])
    epochs = [{"validation_loss": float(loss)} for loss in validation]
    for epoch, loss in zip(epochs, training, strict=False):
        epoch["train_loss"] = float(loss)
    return epochs


def price_scale(job: TrainJob, forecaster: Forecaster, compared: pd.DataFrame) -> PriceScale | None:
    """The size of the prices with which a model of target `close` computes; None for other targets."""
    if job.spec.target != "close":
        return None
    return PriceScale(compared["close"].to_numpy(np.float64), float(forecaster.target_shift))


def _ludwig_forecasts(model: LudwigModel, job: TrainJob, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    compared = rows.tail(COMPARED_ROWS)
    predicted, _ = model.predict(dataset=compared, skip_save_predictions=True)
    forecasts: npt.NDArray[np.float64] = predicted[f"{TARGET}_predictions"].to_numpy(np.float64)
    if job.spec.target == "close":
        forecasts = np.log(np.maximum(forecasts / compared["close"].to_numpy(np.float64), LEAST_CLOSE))
    return forecasts


def graph_forecasts(path: Path, job: TrainJob, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Forecasts of the graph at `path` for the last rows of a job: unshrunk log returns (COMPARED_ROWS,)."""
    inputs = raw_inputs(job, rows.tail(COMPARED_ROWS))
    (raw,) = start_session(path.read_bytes()).run([RAW_OUTPUT], {INPUT: inputs})
    return np.asarray(raw, dtype=np.float64)


@contextmanager
def refusing(what: str, hint: str) -> Iterator[None]:
    """Raise a `TrainingError` for the user in place of any of `LIBRARY_FAILURES`."""
    try:
        yield
    except LIBRARY_FAILURES as failure:
        raise TrainingError(f"{what}: {refusal_text(failure)}", hint) from failure


def prepare_process() -> None:
    """Set this process to one thread, because models of one stock are too small for more, and silence Ludwig's log."""
    torch.set_num_threads(1)
    logging.getLogger("ludwig").setLevel(logging.ERROR)
