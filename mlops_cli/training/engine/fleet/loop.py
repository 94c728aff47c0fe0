"""The training loop of a fleet: the steps of Ludwig's loop, for many models in one tensor."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ludwig.modules.lr_scheduler import LRScheduler
from ludwig.modules.optimization_modules import get_optimizer_class_and_kwargs
from ludwig.utils.trainer_utils import get_final_steps_per_checkpoint, get_total_steps

from mlops_cli.training.engine.fleet.batches import Batches, DropoutStreams, Member, Rows, steps_per_epoch
from mlops_cli.training.engine.fleet.loss_history import LossHistory, behind_median
from mlops_cli.training.engine.fleet.module import Stack
from mlops_cli.training.engine.fleet.terms import TrainingTerms

FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)
CLIP_EPSILON = 1e-6  # torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True)
class FleetOptions:
    """Settings of a fleet that are not in Ludwig's config; see `FleetSettings` for the last two."""

    seed: int
    device: torch.device
    bf16: bool = False
    median_stopping: int | None = None


def train_fleet(
    stack: Stack, terms: TrainingTerms, members: Sequence[Member], options: FleetOptions, tick: Callable[[], None]
) -> list[LossHistory]:
    """Train models together, each as Ludwig would train it alone; one loss history per member, in their order.

    Args:
        stack: their architecture, and the weights with which they begin.
        terms: Ludwig's training settings.
        members: their data; all with the same number of steps an epoch.
        options: settings that are not in Ludwig's config.
        tick: called after every evaluation.
    """
    # never a stack of one: torch multiplies a single matrix by a vector in another order than a batch of them
    fleet = _Fleet(stack, terms, [*members, members[0]] if len(members) == 1 else members, options)
    trainer = terms.trainer
    per_epoch = steps_per_epoch(members[0].train_rows, trainer.batch_size)
    total = get_total_steps(trainer.epochs, per_epoch, trainer.train_steps)
    interval = get_final_steps_per_checkpoint(per_epoch, trainer.steps_per_checkpoint, trainer.checkpoints_per_epoch)
    interval = min(interval, total)
    fleet.begin(total, interval)
    for step in range(total):
        if step % per_epoch == 0:
            fleet.batches.begin_epoch(step // per_epoch)
        fleet.step(step % per_epoch)
        if (step + 1) % interval == 0:
            fleet.evaluate(early_stop=trainer.early_stop)
            tick()
            if fleet.finished:
                break
    return fleet.histories[: len(members)]


class _Fleet:
    """The state of a training: stacked weights, their optimiser, and which models are still in it."""

    def __init__(self, stack: Stack, terms: TrainingTerms, members: Sequence[Member], options: FleetOptions) -> None:
        self.batches = Batches(members, terms, options.seed, options.device)
        self.histories = [LossHistory() for _ in members]
        self.alive = list(range(len(members)))
        self._stack, self._terms, self._options = stack, terms, options
        self._dropout = DropoutStreams([member.stream for member in members], options.seed, stack.dropouts)
        self._weights = {
            name: tensor.to(options.device).repeat(len(members), *[1] * tensor.dim()).requires_grad_()
            for name, tensor in stack.weights.items()
        }
        self._best_metric = np.full(len(members), np.inf)
        self._optimizer: torch.optim.Optimizer
        self._scheduler: Any

    def begin(self, total_steps: int, interval: int) -> None:
        """Create the optimiser and the learning rate schedule as Ludwig does."""
        trainer = self._terms.trainer
        kind, arguments = get_optimizer_class_and_kwargs(trainer.optimizer, trainer.learning_rate)
        if kind in FUSED and self._options.device.type == "cuda":
            arguments["fused"] = True  # not on the processor: there a tensor's last elements are rounded otherwise
        self._optimizer = kind(list(self._weights.values()), **arguments)
        self._scheduler = LRScheduler(trainer.learning_rate_scheduler, self._optimizer, interval, total_steps)

    @property
    def finished(self) -> bool:
        """Whether no model is left to train."""
        return all(self.histories[model].stopped for model in self.alive)

    def step(self, number: int) -> None:
        """One step of every model."""
        rows = self.batches.batch(number)
        masks = self._dropout.masks(rows.counts, rows.target.shape[1], self._options.device)
        rough = self._options.bf16 and rows.inputs.is_cuda
        with torch.autocast(self._options.device.type, torch.bfloat16, enabled=rough):
            predicted = self._stack.forward(self._weights, rows.inputs, masks)
        loss = rows.mean(self._loss(predicted.float(), rows)) * self._terms.loss_weight + self._regularization()
        self._optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]  # no model's loss depends on another's weights
        self._clip()
        self._optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's about schedulers that Ludwig chains
            self._scheduler.step()

    def evaluate(self, early_stop: int) -> None:
        """Record the losses, keep the best weights, and remove the models that have finished."""
        finite = self._finite()
        with torch.no_grad():
            training = self._training_loss()
            validation, metric = self._validation()
        metric = np.where(np.isnan(metric), 0.0, metric)  # as Ludwig takes it
        going = finite & np.array([not self.histories[model].stopped for model in self.alive])
        improved = going & (metric < self._best_metric[self.alive])
        for position in np.flatnonzero(going):
            self.histories[self.alive[position]].losses.append((float(training[position]), float(validation[position])))
        self._keep_best(np.flatnonzero(improved), metric)
        self._let_go(finite, early_stop)

    def _let_go(self, finite: npt.NDArray[np.bool_], early_stop: int) -> None:
        training = (self.alive[position] for position in np.flatnonzero(finite))
        behind = behind_median(self.histories, training, self._options.median_stopping)
        staying = []
        for position, model in enumerate(self.alive):
            history = self.histories[model]
            if history.stopped:
                continue
            since = len(history.losses) - history.best_evaluation
            if not finite[position]:
                history.stopped = "not finite"
            elif 0 < early_stop <= since:
                history.stopped = "early"
            elif model in behind:
                history.stopped = "median"
            else:
                staying.append(position)
        if len(staying) == 1:  # never a stack of one, see train_fleet
            staying = sorted([staying[0], 1 if staying[0] == 0 else 0])
        if len(staying) < len(self.alive):
            self._keep(staying)

    def _keep(self, positions: list[int]) -> None:
        """Keep the models at `positions` and remove the others from every tensor."""
        count = len(self.alive)
        self.alive = [self.alive[position] for position in positions]
        index = torch.tensor(positions, dtype=torch.int64, device=self._options.device)
        self.batches.keep(positions)
        self._dropout.keep(positions)
        for weight in self._weights.values():
            weight.grad = None
            for name, value in self._optimizer.state[weight].items():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape and value.shape[0] == count:
                    self._optimizer.state[weight][name] = value.index_select(0, index)
            weight.data = weight.data.index_select(0, index)

    def _keep_best(self, improved: npt.NDArray[np.int64], metric: npt.NDArray[np.float64]) -> None:
        if not len(improved):
            return
        index = torch.from_numpy(improved).to(self._options.device)
        best = {name: tensor.detach().index_select(0, index).cpu().numpy() for name, tensor in self._weights.items()}
        for row, position in enumerate(improved):
            model = self.alive[position]
            history = self.histories[model]
            history.best = {name: values[row] for name, values in best.items()}
            history.best_evaluation = len(history.losses)
            self._best_metric[model] = metric[position]

    def _loss(self, predicted: torch.Tensor, rows: Rows, kind: str | None = None) -> torch.Tensor:
        difference = predicted - rows.target
        match kind or self._terms.loss:
            case "mean_squared_error" | "root_mean_squared_error":
                return difference.square()
            case "mean_absolute_error":
                return difference.abs()
            case _:
                huber: torch.Tensor = torch.nn.functional.huber_loss(
                    predicted, rows.target, reduction="none", delta=self._terms.delta
                )
                return huber

    def _regularization(self) -> torch.Tensor | float:
        """Ludwig's `reg_loss`, per model."""
        kind, factor = self._terms.trainer.regularization_type, self._terms.trainer.regularization_lambda
        if kind is None or not factor:
            return 0.0
        total: torch.Tensor | float = 0.0
        for weight in self._weights.values():
            flat = weight.flatten(1)
            if "l1" in kind:
                total = total + factor * flat.abs().sum(1)
            if "l2" in kind:
                total = total + factor * flat.square().sum(1)
        return total

    def _clip(self) -> None:
        """Clip each model's gradient as if it were alone."""
        gradients = [weight.grad for weight in self._weights.values() if weight.grad is not None]
        if self._terms.clip_norm is not None:
            squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
            norms = torch.stack(squares).sum(0).sqrt()
            factors = (self._terms.clip_norm / (norms + CLIP_EPSILON)).clamp(max=1.0)
            for gradient in gradients:
                gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))
        if self._terms.clip_value is not None:
            for gradient in gradients:
                gradient.clamp_(-self._terms.clip_value, self._terms.clip_value)

    def _finite(self) -> npt.NDArray[np.bool_]:
        with torch.no_grad():
            flags = [torch.isfinite(weight).flatten(1).all(1) for weight in self._weights.values()]
        finite: npt.NDArray[np.bool_] = torch.stack(flags).all(0).cpu().numpy()
        return finite

    def _training_loss(self) -> npt.NDArray[np.float64]:
        if not self._terms.trainer.evaluate_training_set:
            return np.full(len(self.alive), np.nan)
        total = torch.zeros(len(self.alive), device=self._options.device)
        for rows in self.batches.training_blocks():
            total += rows.mean(self._loss(self._stack.predict(self._weights, rows.inputs), rows))
        return _array(total * self._terms.loss_weight)

    def _validation(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        rows = self.batches.validation()
        predicted = self._stack.predict(self._weights, rows.inputs)
        loss = _array(rows.mean(self._loss(predicted, rows)) * self._terms.loss_weight)
        if self._terms.metric == "loss":
            return loss, loss
        metric = _array(rows.even_mean(self._loss(predicted, rows, self._terms.metric)))
        return loss, np.sqrt(metric) if self._terms.metric.startswith("root") else metric


def _array(values: torch.Tensor) -> npt.NDArray[np.float64]:
    array: npt.NDArray[np.float64] = values.cpu().numpy().astype(np.float64)
    return array
