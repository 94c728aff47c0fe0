"""The rows and dropout masks of a fleet's models in each step and evaluation, as one tensor for all models."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mlops_cli.training.engine.fleet.terms import TrainingTerms

Integers = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]

ROW_MULTIPLE = 64
LEVELS = 2**16  # a dropout rate is rounded to a multiple of 1 / LEVELS; the scale is computed from the rounded rate


@dataclass(frozen=True)
class Member:
    """One model's data.

    Attributes:
        stream: text that, together with the seed, determines its random dropout masks.
        inputs: normalised, float32, (rows, columns); the training rows come first.
        target: normalised, float32, (rows,).
        train_rows: number of training rows; the others are validation rows.
    """

    stream: str
    inputs: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    train_rows: int


def steps_per_epoch(train_rows: int, batch_size: int) -> int:
    """Number of batches per epoch, as Ludwig counts: the last batch may be smaller."""
    return -(-train_rows // batch_size)


def padded_rows(member: Member, batch_size: int) -> tuple[int, int]:
    """Numbers of rows of a model's training and validation tensors, padding included.

    Only models with the same two numbers train together. So padding, and with it the rounding of sums, does not depend
    on the other models.
    """
    steps = steps_per_epoch(member.train_rows, batch_size)
    train = steps * batch_size if steps > 1 else min(batch_size, _rounded_up(member.train_rows))
    return train, _rounded_up(len(member.target) - member.train_rows)


def _rounded_up(rows: int) -> int:
    return -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE


@dataclass(frozen=True)
class Rows:
    """Some rows of every model.

    Attributes:
        inputs: (models, rows, columns); the padding after a model's own rows has arbitrary finite values.
        target: (models, rows).
        weights: (models, rows), weight of each row in a mean; None: all are equal.
        counts: number of each model's own rows; the padding has weight 0.
    """

    inputs: torch.Tensor
    target: torch.Tensor
    weights: torch.Tensor | None
    counts: list[int]

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Each model's weighted mean of `values` (models, rows), or the part of it from these rows."""
        return values.mean(1) if self.weights is None else (values * self.weights).sum(1)

    def even_mean(self, values: torch.Tensor) -> torch.Tensor:
        """Each model's mean of `values` (models, rows) with equal weights of its own rows."""
        if self.weights is None:
            return values.mean(1)
        counts = torch.tensor(self.counts, dtype=values.dtype, device=values.device)
        return (values * (self.weights > 0)).sum(1) / counts


class Batches:
    """The data of models that train together, on one device.

    Args:
        members: models with equal `padded_rows`.
        terms: give the batch sizes and whether to shuffle.
        seed: seed of the run; rows are shuffled in the same order as in Ludwig with this seed.
        device: of the tensors.
    """

    def __init__(self, members: Sequence[Member], terms: TrainingTerms, seed: int, device: torch.device) -> None:
        self._counts: Integers = np.array([member.train_rows for member in members], np.int64)
        self._validating: Integers = np.array([len(member.target) - member.train_rows for member in members], np.int64)
        self._device = device
        train = [(member.inputs[: member.train_rows], member.target[: member.train_rows]) for member in members]
        validation = [(member.inputs[member.train_rows :], member.target[member.train_rows :]) for member in members]
        self._batch, self._seed = int(terms.trainer.batch_size), seed
        train_rows, validation_rows = padded_rows(members[0], self._batch)
        self._train = tuple(self._padded([pair[part] for pair in train], train_rows) for part in (0, 1))
        self._validation = tuple(self._padded([pair[part] for pair in validation], validation_rows) for part in (0, 1))
        eval_batch = terms.trainer.eval_batch_size
        self._eval_batch = max(eval_batch, self._batch) if isinstance(eval_batch, int) else self._batch
        self._shuffle = bool(terms.trainer.should_shuffle)
        self._order: Integers = np.zeros((len(members), 0), np.int64)

    def keep(self, positions: Sequence[int]) -> None:
        """Remove all models except those at these positions; the order of rows in the epoch stays."""
        chosen = list(positions)
        self._counts, self._validating, self._order = (
            part[chosen] for part in (self._counts, self._validating, self._order)
        )
        index = torch.tensor(chosen, dtype=torch.int64, device=self._device)
        self._train = tuple(part.index_select(0, index) for part in self._train)
        self._validation = tuple(part.index_select(0, index) for part in self._validation)

    def begin_epoch(self, epoch: int) -> None:
        """Shuffle as Ludwig's sampler does."""
        self._order = np.zeros((len(self._counts), self._train[1].shape[1]), np.int64)
        orders: dict[int, Integers] = {}
        for model, count in enumerate(self._counts.tolist()):
            if count not in orders:
                random = np.random.RandomState(seed=self._seed + epoch)
                orders[count] = random.permutation(count) if self._shuffle else np.arange(count)
            self._order[model, :count] = orders[count]

    def batch(self, step: int) -> Rows:
        """Batch `step` of the epoch."""
        begin, longest = step * self._batch, self._train[1].shape[1]
        width = min(self._batch, longest - begin)
        counts = np.minimum(self._counts - begin, width)
        last = begin + width == longest
        weights = _inside(counts, width) / counts[:, None] if last else None
        order = np.where(_inside(counts, width), self._order[:, begin : begin + width], 0)
        flat = torch.from_numpy((np.arange(len(order))[:, None] * longest + order).reshape(-1)).to(self._device)
        inputs, target = (part.flatten(0, 1).index_select(0, flat) for part in self._train)
        return self._rows(inputs.view(*order.shape, -1), target.view(order.shape), counts, weights)

    def validation(self) -> Rows:
        """The validation rows."""
        inputs, target = self._validation
        shares = self._shares(self._validating, self._validating, (0, target.shape[1]))
        return self._rows(inputs, target, self._validating, shares)

    def training_blocks(self) -> Iterator[Rows]:
        """The training rows in blocks of the batch size; the mean over all is the sum of the blocks' `Rows.mean`."""
        longest = self._train[1].shape[1]
        for begin in range(0, longest, self._batch):
            width = min(self._batch, longest - begin)
            counts = np.clip(self._counts - begin, 0, width)
            inputs, target = (part[:, begin : begin + width] for part in self._train)
            yield self._rows(inputs, target, counts, self._shares(counts, self._counts, (begin, width)))

    def _padded(self, parts: Sequence[npt.NDArray[np.float32]], longest: int) -> torch.Tensor:
        """Parts of unequal length in one tensor, padded with zeros."""
        whole = np.zeros((len(parts), longest, *parts[0].shape[1:]), np.float32)
        for model, part in enumerate(parts):
            whole[model, : len(part)] = part
        return torch.from_numpy(whole).to(self._device)

    def _shares(self, counts: Integers, of: Integers, block: tuple[int, int]) -> Shares:
        """Weights of rows in Ludwig's evaluation of `of` rows: the mean over its batches of each batch's mean."""
        begin, width = block
        rows = begin + np.arange(width)
        batches = -(-of // self._eval_batch)
        sizes = np.minimum(of[:, None] - rows // self._eval_batch * self._eval_batch, self._eval_batch)
        shares: Shares = np.where(_inside(counts, width), 1.0 / (batches[:, None] * np.maximum(sizes, 1)), 0.0)
        return shares

    def _rows(self, inputs: torch.Tensor, target: torch.Tensor, counts: Integers, shares: Shares | None) -> Rows:
        weights = None if shares is None else torch.from_numpy(shares.astype(np.float32)).to(self._device)
        return Rows(inputs, target, weights, counts.tolist())


def _inside(counts: Integers, width: int) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = np.arange(width) < counts[:, None]
    return inside


class DropoutStreams:
    """Masks of the dropout layers, step by step: each model has its own stream, on every device and in every fleet.

    Args:
        texts: one per model; its stream depends only on the text and the seed.
        seed: of the run.
        layers: maps the name of each layer to its dropout rate and the shape of one row.
    """

    def __init__(self, texts: Sequence[str], seed: int, layers: Mapping[str, tuple[float, tuple[int, ...]]]) -> None:
        self._streams = [np.random.SFC64([seed, zlib.crc32(text.encode())]) for text in texts]
        self._layers = dict(layers)
        self._width = sum(math.prod(shape) for _, shape in self._layers.values())

    def keep(self, positions: Sequence[int]) -> None:
        """Remove all models except those at these positions."""
        self._streams = [self._streams[position] for position in positions]

    def masks(self, rows: Sequence[int], padded: int, device: torch.device) -> dict[str, torch.Tensor]:
        """The next step's masks: per layer a float32 tensor (models, padded, ...), 0 if dropped, else 1 / (1 - rate).

        `rows` is the number of rows that each model has in this batch; its other rows, up to `padded`, are not masked.
        """
        if not self._layers:
            return {}
        draws = np.zeros((len(self._streams), padded, self._width), np.uint16)
        for model, (stream, count) in enumerate(zip(self._streams, rows, strict=True)):
            needed = count * self._width
            draws[model, :count] = _uint16(stream, needed).reshape(count, self._width)
        masks, first = {}, 0
        for name, (rate, shape) in self._layers.items():
            width, limit = math.prod(shape), round(rate * LEVELS)
            mask = (draws[:, :, first : first + width] >= limit).astype(np.float32)
            mask *= LEVELS / (LEVELS - limit) if limit < LEVELS else 0.0
            masks[name] = torch.from_numpy(mask).view(len(mask), padded, *shape).to(device)
            first += width
        return masks


def _uint16(stream: np.random.SFC64, count: int) -> npt.NDArray[np.uint16]:
    words: npt.NDArray[np.uint64] = stream.random_raw(-(-count // 4))  # four numbers in each
    return words.view(np.uint16)[:count]
