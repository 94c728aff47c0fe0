"""When health is calibrated anew, and on what: only the references of models that changed are built again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pandas as pd

from mlops_cli.config.paths import Project
from mlops_cli.errors import MlopsError
from mlops_cli.live.health.calibration import LENGTHS, NEVER_MOVED, Calibration, calibrate
from mlops_cli.live.health.signal import WARM_UP
from mlops_cli.live.health.state import Health
from mlops_cli.live.watch.reference_files import References, as_outcomes, read_references, write_references
from mlops_cli.live.watch.references import Evidence, rebuilt
from mlops_cli.live.watch.states import stored_calibration, write_calibration
from mlops_cli.live.watch.watched import Watched, judged_forecasts

LEAST = LENGTHS[0] + WARM_UP
"""A reference with fewer sessions cannot be used."""


@dataclass(frozen=True)
class Calibrated:
    """What the models are judged with.

    Attributes:
        calibration: of the versions in use.
        until: the last session of the references, which is not judged; None if it was not asked for.
        built: how many references were built.
        is_new: whether it was calibrated now.
    """

    calibration: Calibration
    until: date | None = None
    built: int = 0
    is_new: bool = False


@dataclass(frozen=True)
class Calibrator:
    """Keeps the references and the calibration of a project.

    Attributes:
        models: that are watched, by label.
        health: the stored states.
        newest: the last target session whose closes are known.
        write: False for a dry run.
        fail: gets the models that could not be replayed.
    """

    project: Project
    models: Mapping[str, Watched]
    health: Health
    newest: date
    write: bool
    fail: Callable[[str, MlopsError], None]

    def current(self) -> Calibrated:
        """The calibration of the versions in use, made anew if one is new, or has become old enough to be judged.

        References are written before the calibration, and that before the states, so that a pass that was killed in
        between goes on from the same references.
        """
        stored = self._stored()
        if stored is not None and self.health.session is not None and not _too_short(stored):
            return Calibrated(stored)
        references, built = self._references()
        until = max((entry.until for entry in references.built.values()), default=self.newest)
        if stored is not None and not _are_long_enough(references, _too_short(stored)):
            return Calibrated(stored, until, built)
        shrinkages = {label: float(model.answering.manifest.shrinkage or 0) for label, model in self.models.items()}
        calibration = calibrate(as_outcomes(references, shrinkages), self._versions)
        if self.write:
            write_calibration(self.project, calibration)
        return Calibrated(calibration, until, built, is_new=True)

    def _stored(self) -> Calibration | None:
        """The stored calibration, if it was made for the versions in use."""
        stored = stored_calibration(self.project)
        return stored if stored is not None and _versions(stored) == self._versions else None

    @property
    def _versions(self) -> dict[str, str]:
        return {label: model.answering.version for label, model in self.models.items()}

    @property
    def _until(self) -> date:
        """The last session that a reference may hold: later ones are to be judged."""
        return self.health.session or self.newest

    def _references(self) -> tuple[References, int]:
        """The references of the versions in use, and how many were built: of new versions, and short ones that grow."""
        references = read_references(self.project.live)
        sizes = references.rows["model"].value_counts()
        due = []
        for label, model in self.models.items():
            built = references.built.get(label)
            is_old = built is not None and built.version == model.answering.version
            may_grow = built is not None and built.until < self._until and sizes.get(label, 0) < LEAST
            if not is_old or may_grow:
                due.append(model)
        return self._extended(references, due) if due else references, len(due)

    def _extended(self, stored: References, due: Sequence[Watched]) -> References:
        """All references, those of some models built again; of models that are gone, none."""
        earlier = [stored.built[model.label].until for model in due if model.label in stored.built]
        after = min(earlier) if len(earlier) == len(due) else None
        issued = judged_forecasts(self.project.journal, [model.label for model in due], after)
        new = rebuilt(self.project, due, stored, Evidence(self.health, issued, self._until), self.fail)
        kept = [label for label in stored.built if label in self.models and label not in new.built]
        rows = pd.concat([stored.rows[stored.rows["model"].isin(kept)], new.rows], ignore_index=True)
        rows = rows.sort_values(["model", "target_session"], ignore_index=True)
        references = References(rows, {label: stored.built[label] for label in kept} | new.built)
        if self.write:
            write_references(self.project.live, references)
        return references


def _versions(calibration: Calibration) -> dict[str, str]:
    """The versions that a calibration was made for."""
    return {label: entry.version for label, entry in (calibration.models | calibration.not_judged).items()}


def _too_short(calibration: Calibration) -> set[str]:
    """The models that are not judged because their references are too short."""
    return {label for label, entry in calibration.not_judged.items() if entry.reason != NEVER_MOVED}


def _are_long_enough(references: References, labels: set[str]) -> bool:
    """Whether one of these models can be judged now."""
    sizes = references.rows["model"].value_counts()
    return any(sizes.get(label, 0) >= LEAST for label in labels)
