"""The training settings of Ludwig's completed config that a fleet uses, or the reason why it refuses the config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ludwig.modules.optimization_modules import create_clipper

from mlops_cli.training.ludwig_config import TARGET

# elementwise: many models in one tensor take the same step as each alone
OPTIMIZERS = {"adam", "adamw", "sgd", "adagrad", "adadelta", "adamax", "nadam", "radam", "rmsprop"}
LOSSES = {"huber", "mean_squared_error", "mean_absolute_error"}
METRICS = {"loss", "mean_squared_error", "root_mean_squared_error", "mean_absolute_error"}

# keys of Ludwig's `trainer` section that the fleet's loop applies, or that have no effect in one process
HONOURED = {
    "batch_size",
    "checkpoints_per_epoch",
    "early_stop",
    "epochs",
    "eval_batch_size",
    "evaluate_training_set",
    "gradient_clipping",
    "learning_rate",
    "learning_rate_scaling",
    "learning_rate_scheduler",
    "max_batch_size",
    "optimizer",
    "profiler",
    "regularization_lambda",
    "regularization_type",
    "should_shuffle",
    "steps_per_checkpoint",
    "train_steps",
    "validation_field",
    "validation_metric",
}


@dataclass(frozen=True)
class TrainingTerms:
    """How a fleet trains, in Ludwig's words.

    Attributes:
        trainer: Ludwig's completed `trainer` section.
        loss: huber, mean_squared_error or mean_absolute_error.
        delta: of the Huber loss, in units of the normalised target.
        loss_weight: factor of the loss.
        metric: what decides which weights are best; lower is better.
        clip_norm: largest norm of a model's gradient, or None.
        clip_value: largest absolute value of a gradient's element, or None.
    """

    trainer: Any
    loss: str
    delta: float
    loss_weight: float
    metric: str
    clip_norm: float | None
    clip_value: float | None


def read_terms(config: Any) -> TrainingTerms:
    """The terms of Ludwig's completed config (`LudwigModel.config_obj`), for which `refusal` returns None."""
    output = config.output_features[0]
    clipper = create_clipper(config.trainer.gradient_clipping)
    # of several settings Ludwig applies only the first, which uses up its iterator of gradients
    norm = clipper.clipglobalnorm or clipper.clipnorm or None
    return TrainingTerms(
        trainer=config.trainer,
        loss=output.loss.type,
        delta=getattr(output.loss, "delta", 1.0),
        loss_weight=output.loss.weight,
        metric=config.trainer.validation_metric,
        clip_norm=norm,
        clip_value=None if norm else clipper.clipvalue or None,
    )


def refusal(config: Any) -> str | None:
    """Why models of Ludwig's completed config (`LudwigModel.config_obj`) cannot train together; None if they can."""
    trainer, output = config.trainer, config.output_features[0]
    defaults = type(trainer)().to_dict()
    changed = [key for key, value in trainer.to_dict().items() if key not in HONOURED and value != defaults.get(key)]
    checks = (
        (bool(changed), f"trainer.{changed[0] if changed else ''} gives other values in a fleet"),
        (not isinstance(trainer.batch_size, int), f"trainer.batch_size: {trainer.batch_size}"),
        (isinstance(trainer.eval_batch_size, str), f"trainer.eval_batch_size: {trainer.eval_batch_size}"),
        (not isinstance(trainer.learning_rate, int | float), f"trainer.learning_rate: {trainer.learning_rate}"),
        (trainer.optimizer.type.lower() not in OPTIMIZERS, f"trainer.optimizer: {trainer.optimizer.type}"),
        (trainer.learning_rate_scheduler.reduce_on_plateau > 0, "learning_rate_scheduler.reduce_on_plateau"),
        (trainer.validation_field not in (TARGET, "combined"), f"trainer.validation_field: {trainer.validation_field}"),
        (trainer.validation_metric not in METRICS, f"trainer.validation_metric: {trainer.validation_metric}"),
        (output.loss.type not in LOSSES, f"the loss {output.loss.type}"),
        (output.clip is not None, "output_features[0].clip"),
        (any(feature.has_augmentation() for feature in config.input_features), "augmentation of an input feature"),
    )
    return next((reason for wrong, reason in checks if wrong), None)
