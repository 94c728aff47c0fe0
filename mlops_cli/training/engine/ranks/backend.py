"""Ludwig's trainer over the ranks of a torchrun launch, with corrections of its behaviour in several processes.

- Ludwig restores the best weights only on rank 0. Here all ranks receive them.
- Ludwig reports NaN only on rank 0, and the other ranks wait forever. Here all ranks check their weights.
- A training that saved nothing fails only on rank 0. Here all ranks agree before they continue.
- Ludwig's `batch_size` is that of one rank. Here the config's is that of all ranks together, and is divided.
- Ludwig's default of `learning_rate_scaling` multiplies the rate by the number of ranks. Here it is "constant".
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from ludwig.api import LudwigModel
from ludwig.backend.base import LocalBackend
from ludwig.distributed import init_dist_strategy
from ludwig.distributed.base import LocalStrategy
from ludwig.models.predictor import Predictor
from ludwig.trainers.trainer import Trainer

from mlops_cli.errors import ConfigError
from mlops_cli.training.engine.fit import LIBRARY_FAILURES, LudwigFitter, Trained
from mlops_cli.training.engine.ranks.ranks import Ranks
from mlops_cli.training.engine.ranks.strategy import DDP, FSDP, FsdpStrategy, RankStrategy, local_part
from mlops_cli.training.trainer import Fitted, TrainJob


class RankFitter(LudwigFitter):
    """A `LudwigFitter` in one of several ranks: all train together with DDP, or FSDP if `sharded`; rank 0 writes."""

    def __init__(self, graphs: Any, ranks: Ranks, sharded: bool) -> None:
        super().__init__(graphs, TorchrunBackend(ranks, sharded))
        self._ranks, self._sharded = ranks, sharded

    def config(self, job: TrainJob) -> dict[str, Any]:
        """The job's config, with its batches divided among the ranks."""
        where = f"{job.spec.file or job.spec.name}: ludwig.trainer"
        config = per_rank(super().config(job), self._ranks.size, where)
        if self._sharded and config["trainer"].get("regularization_lambda"):
            raise ConfigError(
                f"{where}.regularization_lambda: cannot be used with fsdp, where no process holds all weights",
                "take it out, or set training.strategy to ddp",
            )
        return config

    def export(self, job: TrainJob, trained: Trained, rows: pd.DataFrame) -> Fitted:
        """Export as `LudwigFitter` does, with the strategy and the number of processes as facts."""
        fitted = super().export(job, trained, rows)
        facts = {"strategy": "fsdp" if self._sharded else "ddp", "processes": self._ranks.size}
        return replace(fitted, facts={**fitted.facts, **facts})


def per_rank(config: dict[str, Any], ranks: int, where: str) -> dict[str, Any]:
    """A config with the batch sizes of one rank: the batches of all ranks together are those of the given config.

    Raises:
        ConfigError: a batch size is no number, or cannot be divided evenly.
    """
    shared = copy.deepcopy(config)
    trainer = shared["trainer"]
    batch = _fixed(trainer.get("batch_size"), f"{where}.batch_size")
    evaluated = _fixed(trainer.get("eval_batch_size") or batch, f"{where}.eval_batch_size")
    if batch % ranks:
        fitting = sorted({max(1, batch // ranks) * ranks, (batch // ranks + 1) * ranks})
        hint = f"set it to {' or '.join(str(size) for size in fitting)}"
        raise ConfigError(f"{where}.batch_size: {batch} rows cannot be shared out evenly among {ranks} processes", hint)
    trainer["batch_size"] = batch // ranks
    trainer["eval_batch_size"] = max(1, evaluated // ranks)
    trainer.setdefault("learning_rate_scaling", "constant")
    return shared


def _fixed(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        message = f"{where}: several processes need a fixed number of rows, was {value!r}"
        raise ConfigError(message, "set it, e.g. to 512")
    return value


class TorchrunBackend(LocalBackend):
    """Ludwig's local backend in one of several ranks, with DDP, or FSDP if `sharded`."""

    BACKEND_TYPE = "local"  # other code of Ludwig compares it with "ray" and "local"

    def __init__(self, ranks: Ranks, sharded: bool) -> None:
        super().__init__()
        self._sharded = sharded
        # sets the global strategy too, which metrics read
        strategy: Any = init_dist_strategy(FSDP if sharded else DDP, ranks=ranks)
        self._strategy: RankStrategy = strategy

    def initialize(self) -> None:  # type: ignore[override]
        """Do nothing: Ludwig calls it for each model, but the ranks are connected once."""

    @property
    def num_training_workers(self) -> int:
        """Number of ranks."""
        return self._strategy.size()

    def is_coordinator(self) -> bool:  # type: ignore[override]
        """Whether this rank writes."""
        return self._strategy.rank() == 0

    def broadcast_return(self, fn: Any) -> Any:  # type: ignore[override]
        """Call `fn` on rank 0 and return its result on every rank."""
        return self._strategy.broadcast_object(fn() if self.is_coordinator() else None)

    def create_trainer(self, config: Any, model: Any, **options: Any) -> Trainer:  # type: ignore[override]
        """A trainer that trains with the other ranks."""
        return _RankTrainer(config=config, model=model, distributed=self._strategy, **options)

    def create_predictor(self, model: Any, **options: Any) -> Predictor:  # type: ignore[override]
        """A predictor on the CPU: the whole model may not fit the device, and the graph is compared with this one."""
        return _CpuPredictor(model, **options)

    def sync_model(self, model: Any) -> None:
        """Send the best weights of rank 0 to every rank. With FSDP only rank 0 needs the whole weights."""
        if not self._sharded:
            for tensor in model.state_dict().values():
                self._strategy.broadcast(tensor)


class _RankTrainer(Trainer):
    def train(self, *data: Any, **options: Any) -> Any:
        """Train with the other ranks; if one fails, all raise."""
        strategy: Any = self.distributed
        ranks: Ranks = strategy.ranks
        try:
            best, *losses = super().train(*data, **{**options, "return_state_dict": True})
        except LIBRARY_FAILURES as failure:
            ranks.post("trained", str(failure))
            raise
        failed = ranks.post("trained")
        if failed:
            raise RuntimeError(failed)
        if not isinstance(self.distributed, FsdpStrategy) and not ranks.compare("weights", weights_digest(self.model)):
            raise RuntimeError("the processes ended with different weights")
        return self._with_best(best), *losses

    def _with_best(self, best: dict[str, torch.Tensor] | None) -> Any:
        if best is None:  # not rank 0
            return self.model
        if isinstance(self.distributed, FsdpStrategy):
            fresh: Any = LudwigModel.create_model(self.model.config_obj, random_seed=int(self.random_seed))
            self.model = fresh
        self.model.load_state_dict(best)
        return self.model

    def _has_nan_or_inf_weights(self, model: torch.nn.Module) -> bool:
        tensors = [*model.parameters(), *model.buffers()]
        broken = any(not torch.isfinite(local_part(tensor)).all() for tensor in tensors)
        flag = torch.tensor(int(broken), device=self.device)
        self.distributed.allreduce(flag)
        return bool(flag.item())


class _CpuPredictor(Predictor):
    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__(model, distributed=_OnCpu(), **options)
        self.device = torch.device("cpu")
        model.metrics_to_device(self.device)


class _OnCpu(LocalStrategy):
    def to_device(self, model: Any, device: torch.device | None = None) -> Any:
        return model.to("cpu")


def weights_digest(model: torch.nn.Module) -> str:
    """sha256 of a model's parameters, bit by bit."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
