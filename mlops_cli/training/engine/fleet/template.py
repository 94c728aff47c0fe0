"""One architecture of a fleet: it prepares the data of each model as Ludwig does, and writes the trained models.

A fleet replaces Ludwig's trainer, but neither its preprocessing nor its files. So this module repeats what
`ludwig.api.LudwigModel.train` does before the first training step (`_begin`), and checks for one job that the prepared
data are equal to Ludwig's (`FleetTemplate._check`).
"""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
import torch
from ludwig.api import LudwigModel
from ludwig.features.feature_registries import update_config_with_metadata, update_config_with_model
from ludwig.features.number_feature import get_transformer, numeric_transformation_registry
from ludwig.utils.data_utils import NumpyEncoder
from ludwig.utils.misc_utils import set_saved_weights_in_checkpoint_flag
from safetensors.torch import save_file

from mlops_cli.training.engine.export.agreement import OTHER_ARCHITECTURE, checked_difference
from mlops_cli.training.engine.export.onnx_export import LEAST_CLOSE, GraphTemplate
from mlops_cli.training.engine.fit import (
    COMPARED_ROWS,
    METADATA,
    SETTINGS,
    WEIGHTS,
    LudwigFitter,
    graph_forecasts,
    make_forecaster,
    new_model,
    price_scale,
    refusing,
)
from mlops_cli.training.engine.fleet.batches import Member
from mlops_cli.training.engine.fleet.loss_history import LossHistory
from mlops_cli.training.engine.fleet.module import CannotStackError, Stack
from mlops_cli.training.engine.fleet.terms import read_terms, refusal
from mlops_cli.training.ludwig_config import SPLIT, TARGET, layout
from mlops_cli.training.rows import raw_inputs
from mlops_cli.training.trainer import Fitted, TrainJob

FILLED_WITHOUT_DATA = {"fill_with_const", "drop_row"}


@dataclass(frozen=True)
class Prepared:
    """A job with the preprocessed data that the fleet trains on.

    Attributes:
        rows: the last `COMPARED_ROWS` rows of `rows.training_rows`, on which the exported graph is compared.
        member: normalised inputs and target.
        metadata: Ludwig's `training_set_metadata` for these rows.
    """

    job: TrainJob
    rows: pd.DataFrame
    member: Member
    metadata: dict[str, Any]


class FleetTemplate:
    """An architecture that trains in fleets.

    Args:
        job: an example: any job of the architecture.
        config: Ludwig config of the job.
        rows: rows of the job (`rows.training_rows`), without gaps.
        fitter: keeps exported graphs.

    Raises:
        CannotStackError: models of this config cannot train together; the message gives the reason.
        ConfigError: Ludwig refuses the config.
    """

    def __init__(self, job: TrainJob, config: dict[str, Any], rows: pd.DataFrame, fitter: LudwigFitter) -> None:
        model = new_model(job, config)
        reason = refusal(model.config_obj)
        if reason:
            raise CannotStackError(reason)
        self._features = [feature.to_dict() for feature in model.config_obj.input_features]
        self._output = model.config_obj.output_features[0].to_dict()
        self._columns = len(job.inputs)
        self._layout = layout(config, job.inputs)
        self._fitter = fitter
        self._graph: GraphTemplate | None = None
        processed = _begin(job, model, rows)
        self._metadata = json.loads(json.dumps(model.training_set_metadata, cls=NumpyEncoder))
        self._metadata.pop("checksum", None)
        self._settings = json.dumps(model.config_obj.to_dict(), cls=NumpyEncoder, sort_keys=True, indent=4)
        self._backend = model.backend
        ecd: Any = model.model
        self._ecd: Any = copy.deepcopy(ecd).cpu().eval()
        self.terms = read_terms(model.config_obj)
        self.stack = Stack(self._ecd, self._layout, self._columns)
        self._check(job, rows, processed)

    def prepare(self, job: TrainJob, rows: pd.DataFrame) -> Prepared:
        """Normalise the rows of a job with Ludwig's own functions."""
        metadata = dict(self._metadata)
        inputs = raw_inputs(job, rows)
        for feature in self._features:
            if feature["type"] == "number":
                at = job.inputs.index(feature["name"])
                metadata[feature["name"]], inputs[:, at] = self._normalised(feature, rows[feature["name"]])
        metadata[TARGET], target = self._normalised(self._output, rows[TARGET])
        train = int((rows[SPLIT] == 0).sum())
        member = Member(job.spec.ticker, inputs, target, train)
        return Prepared(job, rows.tail(COMPARED_ROWS), member, metadata)

    def write(self, prepared: Prepared, history: LossHistory) -> Fitted:
        """Write a trained model into the folder of its job: Ludwig's files, and the graph if it agrees with them.

        Raises:
            TrainingError: the training diverged, or the graph does not agree with Ludwig.
        """
        job, weights = prepared.job, history.best
        assert weights is not None  # the caller has reported models without usable weights
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in weights.items()}
        self._ecd.load_state_dict(tensors)
        folder = job.folder / "ludwig"
        folder.mkdir()
        save_file(tensors, folder / WEIGHTS)
        (folder / SETTINGS).write_text(self._settings)
        (folder / METADATA).write_text(json.dumps(prepared.metadata, cls=NumpyEncoder, sort_keys=True, indent=4))
        parameters = sum(tensor.numel() for tensor in self.stack.weights.values())
        stopped = {"stopped": history.stopped} if history.stopped else {}
        facts = {"strategy": "fleet", "parameters": parameters, "best_epoch": history.best_evaluation, **stopped}
        return Fitted(job, _epochs(history), {**facts, "onnx_difference": self._export(prepared)})

    def _export(self, prepared: Prepared) -> float:
        job = prepared.job
        path = job.folder / "model.onnx"
        with refusing(f"{job.spec.name}: this architecture cannot be exported", OTHER_ARCHITECTURE):
            forecaster = make_forecaster(job, self._ecd, self._layout, prepared.metadata)
            if self._graph is None:
                self._graph = self._fitter.graph(forecaster, self._columns)
            onnx.save(self._graph.fill(forecaster), path)
            ours, ludwigs = graph_forecasts(path, job, prepared.rows), self._forecasts(prepared)
        prices = price_scale(job, forecaster, prepared.rows)
        return checked_difference(job.spec.name, ours, ludwigs, prices)

    def _forecasts(self, prepared: Prepared) -> npt.NDArray[np.float64]:
        """Forecasts of Ludwig's module for the last rows, denormalised by Ludwig's own transformation; log returns."""
        last = torch.from_numpy(prepared.member.inputs[-len(prepared.rows) :])
        inputs = {part.name: part.of(last) for part in self._layout}
        with torch.no_grad():
            output = self._ecd.output_features.get(TARGET).predictions(self._ecd(inputs), TARGET)
        normalised = output["predictions"].reshape(-1).numpy()
        transformer = get_transformer(prepared.metadata[TARGET], self._output["preprocessing"])
        forecasts = np.asarray(transformer.inverse_transform(normalised), np.float64)
        if prepared.job.spec.target == "close":
            forecasts = np.log(np.maximum(forecasts / prepared.rows["close"].to_numpy(np.float64), LEAST_CLOSE))
        return forecasts

    def _normalised(
        self, feature: dict[str, Any], column: pd.Series[Any]
    ) -> tuple[dict[str, Any], npt.NDArray[np.float32]]:
        """The metadata of a number feature and its normalised column, as Ludwig's `NumberFeatureMixin` makes them."""
        settings = self._metadata[feature["name"]]["preprocessing"]
        kind: Any = numeric_transformation_registry[settings["normalization"]]
        metadata = {**kind.fit_transform_params(column, self._backend), "preprocessing": settings}
        transformer = get_transformer({**metadata, "name": feature["name"]}, settings)
        return metadata, np.asarray(transformer.transform(column.to_numpy(np.float32)), np.float32)

    def _check(self, job: TrainJob, rows: pd.DataFrame, processed: Any) -> None:
        """Check with the example job that `prepare` gives the inputs that Ludwig's own preprocessing gave."""
        for feature in (*self._features, self._output):
            settings = self._metadata[feature["name"]]["preprocessing"]
            filled = settings.get("missing_value_strategy", "drop_row")
            if filled not in FILLED_WITHOUT_DATA:
                raise CannotStackError(f"missing_value_strategy {filled} of {feature['name']}")
            if settings.get("outlier_strategy") is not None:
                raise CannotStackError(f"outlier_strategy of {feature['name']}")
        mine = self.prepare(job, rows).member
        for part, feature in zip(self._layout, self._features, strict=True):
            ludwigs = processed.training_set.dataset[feature["proc_column"]]
            ours = mine.inputs[: mine.train_rows, part.start : part.start + part.width]
            if not np.array_equal(np.asarray(ludwigs).reshape(ours.shape), ours):
                raise CannotStackError(f"the preprocessing of {feature['name']} gives other values in a fleet")


def _begin(job: TrainJob, model: Any, rows: pd.DataFrame) -> Any:
    """Bring a model to the state in which Ludwig starts to train it.

    These are the steps of `LudwigModel.train` before it creates a trainer (ludwig 0.17, `ludwig/api.py`), in its order.
    `LudwigModel` has no public method that stops there. The result is Ludwig's `PreprocessedDataset`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processed = model.preprocess(dataset=rows, skip_save_processed_input=True, random_seed=job.seed)
        model.training_set_metadata = processed.training_set_metadata
        update_config_with_metadata(model.config_obj, model.training_set_metadata)
        model.model = LudwigModel.create_model(model.config_obj, random_seed=job.seed)
        update_config_with_model(model.config_obj, model.model)
        set_saved_weights_in_checkpoint_flag(model.config_obj)
        model.config_obj.trainer.update_batch_size_grad_accum(1)
    return processed


def _epochs(history: LossHistory) -> list[dict[str, float]]:
    return [
        {"validation_loss": validation} | ({} if np.isnan(training) else {"train_loss": training})
        for training, validation in history.losses
    ]
