"""Dropout for fleets: each model drops by a stream of its own, whoever trains beside it and on whatever device."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

LEVELS = 2**16  # a rate is rounded to a multiple of 1 / LEVELS, and the scale to what that needs


class DropoutStreams:
    """Masks of the dropout layers, step by step.

    Args:
        texts: one per model; its stream follows from that and the seed alone.
        seed: of the run.
        layers: name of each layer to its rate and the shape of one row.
    """

    def __init__(self, texts: Sequence[str], seed: int, layers: Mapping[str, tuple[float, tuple[int, ...]]]) -> None:
        self._streams = [np.random.SFC64([seed, zlib.crc32(text.encode())]) for text in texts]
        self._layers = dict(layers)
        self._width = sum(math.prod(shape) for _, shape in self._layers.values())

    def keep(self, positions: Sequence[int]) -> None:
        """Go on with the models at these positions only."""
        self._streams = [self._streams[position] for position in positions]

    def masks(self, rows: Sequence[int], padded: int, device: torch.device) -> dict[str, torch.Tensor]:
        """The next step's masks.

        Args:
            rows: how many rows each model has in this batch.
            padded: rows of the stacked batch; those beyond a model's own are not masked.
            device: where the masks go.

        Returns:
            One float32 tensor (models, padded, ...) per layer: 0 where dropped, else 1 / (1 - rate).
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
