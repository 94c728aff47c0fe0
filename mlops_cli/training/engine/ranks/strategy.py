"""How ranks share a Ludwig model: a copy each (torch DDP), or a part each (FSDP2).

Ludwig's trainer calls a *strategy* for everything that concerns other processes. Its own strategies need the package
accelerate, and have errors that are corrected here and in `backend`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from ludwig.distributed import STRATEGIES
from ludwig.distributed.base import LocalStrategy
from ludwig.modules.optimization_modules import create_optimizer
from ludwig.utils.checkpoint_utils import MultiNodeCheckpoint
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torchmetrics.utilities.distributed import gather_all_tensors

from mlops_cli.training.engine.ranks.ranks import Ranks


class RankStrategy(LocalStrategy):
    """The part that both strategies share."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def size(self) -> int:
        """Number of ranks."""
        return self.ranks.size

    def rank(self) -> int:
        """Number of this rank."""
        return self.ranks.rank

    def local_size(self) -> int:
        """Number of ranks on this machine."""
        return self.ranks.local_size

    def local_rank(self) -> int:
        """Number of this rank among those of this machine."""
        return self.ranks.local_rank

    def to_device(self, model: Any, device: torch.device | None = None) -> Any:
        """Move a model; torch's wrapper has no `to_device` of its own."""
        return model.to(device or self.ranks.device)

    def barrier(self) -> None:
        """Wait for all ranks."""
        dist.barrier()

    def allreduce(self, t: torch.Tensor) -> torch.Tensor:
        """Sum over the ranks, in place: Ludwig does not use the result."""
        dist.all_reduce(t)
        return t

    def broadcast(self, t: torch.Tensor) -> torch.Tensor:
        """Rank 0's values, in place."""
        dist.broadcast(t, 0)
        return t

    def broadcast_object(self, v: Any, name: str | None = None) -> Any:
        """Rank 0's object."""
        box = [v]
        dist.broadcast_object_list(box, src=0, device=self.ranks.device)
        return box[0]

    @classmethod
    def is_available(cls) -> bool:
        """Whether metrics must be gathered over the ranks."""
        return dist.is_initialized()

    @classmethod
    def gather_all_tensors_fn(cls) -> Callable[..., Any]:
        """The function that gathers metrics."""
        return gather_all_tensors


class DdpStrategy(RankStrategy):
    """Every rank holds the whole model and a part of each batch; gradients are averaged."""

    def prepare(self, model: Any, trainer_config: Any, base_learning_rate: float) -> tuple[Any, Any]:
        """Wrap the model, which takes rank 0's weights, and make its optimizer."""
        devices = [self.ranks.device] if self.ranks.device.type == "cuda" else None
        # unused: encoders may hold weights that no forecast depends on, e.g. for an unknown category
        wrapped: Any = DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True)
        return wrapped, create_optimizer(wrapped, trainer_config.optimizer, base_learning_rate)

    @contextlib.contextmanager
    def prepare_model_update(self, model: Any, should_step: bool) -> Iterator[None]:
        """Average gradients only where a step follows."""
        with contextlib.nullcontext() if should_step else model.no_sync():
            yield


class FsdpStrategy(RankStrategy):
    """Every rank holds a part of each layer's weights, gradients and optimizer state, and a part of each batch."""

    def to_device(self, model: Any, device: torch.device | None = None) -> Any:
        """Do not move the model: the whole may not fit the device, and `prepare` moves it part by part."""
        return model

    def prepare(self, model: Any, trainer_config: Any, base_learning_rate: float) -> tuple[Any, Any]:
        """Divide the weights among the ranks, so that only one part at a time is whole; make the optimizer."""
        mesh = init_device_mesh(self.ranks.device.type, (self.ranks.size,))
        for part in _parts(model):
            fully_shard(part, mesh=mesh)
        return model, create_optimizer(model, trainer_config.optimizer, base_learning_rate)

    @contextlib.contextmanager
    def prepare_model_update(self, model: Any, should_step: bool) -> Iterator[None]:
        """Average gradients only where a step follows."""
        model.set_requires_gradient_sync(should_step)
        yield

    def create_checkpoint_handle(
        self, dist_model: Any, model: Any, optimizer: Any = None, scheduler: Any = None
    ) -> MultiNodeCheckpoint:
        """The checkpoint of the best weights, without the optimizer's state, which is divided among the ranks."""
        return _WholeCheckpoint(self, model)


def _parts(model: Any) -> list[torch.nn.Module]:
    """The modules of an ECD that FSDP gathers one at a time, inner ones first.

    These are encoders, combiner, decoders and the layers of stacks. Ludwig's feature modules are left out, because FSDP
    changes the class of a module and Python cannot change theirs.
    """
    features = [*model.input_features.values(), *model.output_features.values()]
    ends = {getattr(feature, name, None) for feature in features for name in ("encoder_obj", "fc_stack", "decoder_obj")}
    sharded = {model, model.combiner} | ends | _stacked_layers(model)
    inner_first = reversed(list(model.modules()))
    return [part for part in inner_first if part in sharded and next(part.parameters(), None) is not None]


def _stacked_layers(model: torch.nn.Module) -> set[torch.nn.Module]:
    """The layers in the module lists of a model."""
    stacks = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList))
    return {layer for stack in stacks for layer in stack if not isinstance(layer, torch.nn.ModuleList)}


class _WholeCheckpoint(MultiNodeCheckpoint):
    """Saves whole weights of a model that is divided among the ranks."""

    def save(self, save_path: str, global_step: int) -> None:
        self._whole = whole_weights(self.model)  # all ranks take part; the rest runs on rank 0 only
        super().save(save_path, global_step)
        del self._whole

    def get_model_state_dict(self) -> dict[str, torch.Tensor]:
        return self._whole


def whole_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The whole weights of a divided model, in main memory on rank 0, {} on the others; all ranks must call it."""
    whole = {}
    for name, tensor in model.state_dict().items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if dist.get_rank() == 0:
            whole[name] = full.detach().cpu().clone()
    return whole


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a tensor that this rank holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


DDP, FSDP = "torchrun_ddp", "torchrun_fsdp"
STRATEGIES[DDP] = lambda: DdpStrategy
STRATEGIES[FSDP] = lambda: FsdpStrategy
