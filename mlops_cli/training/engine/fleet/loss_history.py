"""The losses of one model of a fleet, and the rule that stops models worse than the median."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FEWEST_MODELS = 3  # with fewer models a median is not meaningful


@dataclass
class LossHistory:
    """The losses and best weights of one model.

    Attributes:
        losses: (training loss, validation loss) of every evaluation; the training loss is NaN if not evaluated.
        best: weights of the best evaluation; None if no evaluation was usable.
        best_evaluation: number of the best evaluation, from 1; 0 if there is none.
        stopped: "early", "median", "not finite", or "" if all epochs were trained.
    """

    losses: list[tuple[float, float]] = field(default_factory=list)
    best: dict[str, npt.NDArray[np.float32]] | None = None
    best_evaluation: int = 0
    stopped: str = ""

    @property
    def mean_validation_loss(self) -> float:
        """Mean over all evaluations; NaN before the first."""
        return float(np.mean([validation for _, validation in self.losses])) if self.losses else float("nan")


def behind_median(histories: Sequence[LossHistory], models: Iterable[int], grace: int | None) -> set[int]:
    """Find the models whose last validation loss is above the median of the others' mean losses.

    This is the median stopping rule of Golovin et al., "Google Vizier" (2017).

    Args:
        histories: those of all models that started together. Stopped models still count in the median, which would
            otherwise fall with every model that is stopped.
        models: the models to check, as positions in `histories`, like the result. Stopped models are ignored.
        grace: number of evaluations before the rule applies; None: it never applies.
    """
    if grace is None or len(histories) < FEWEST_MODELS or max(len(history.losses) for history in histories) < grace:
        return set()
    means = np.array([history.mean_validation_loss for history in histories])
    return {
        model
        for model in models
        if not histories[model].stopped and histories[model].losses[-1][1] > np.nanmedian(np.delete(means, model))
    }
