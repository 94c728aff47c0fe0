"""What goes into the conversion of bars and files, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlops_cli.config.schemas.project import FeatureSpec, Target
from mlops_cli.serving.contract.messages import DividendSource, Rows


@dataclass(frozen=True)
class FeatureFacts:
    """What the features of a model are computed from.

    Attributes:
        inputs: its input columns in order; the last ones, one for each level, are the widths of its intervals.
        levels: of its intervals.
        prices: the project's folder with the dividends of tickers, if there are any; None: the model subtracts none.
        note: the note of its feature table, which need not exist: it has the newest quantiles of a fleet.
    """

    features: FeatureSpec
    target: Target
    exchange: str
    ticker: str
    inputs: tuple[str, ...]
    levels: tuple[float, ...] = ()
    prices: Path | None = None
    note: Path | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """All inputs but the widths."""
        return self.inputs[: len(self.inputs) - len(self.levels)]


@dataclass(frozen=True)
class PostedRows:
    """Rows to forecast, and the session and close of each.

    Attributes:
        rows: float32 (n, columns), finite, in the order of the model's inputs; feature values may lack the widths.
        sessions: session of each row, ISO; empty where the upload has none.
        target_sessions: session that each row forecasts; empty for feature values.
        closes: close of each row's session; empty for feature values.
        levels: of the intervals whose widths the rows have.
        dividends: the announced dividend of each row's target session in price units; empty for feature values.
        dividend_source: of the last row's dividend, as in `Forecast`.
    """

    rows: Rows
    sessions: list[str]
    target_sessions: list[str]
    closes: npt.NDArray[np.float64]
    levels: tuple[float, ...] = ()
    dividends: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    dividend_source: DividendSource | None = None

    @property
    def widths(self) -> Rows:
        """The widths of each row's intervals, float32 (n, levels)."""
        return self.rows[:, self.rows.shape[1] - len(self.levels) :]

    def last(self) -> PostedRows:
        """The last row alone."""
        return replace(
            self,
            rows=self.rows[-1:],
            sessions=self.sessions[-1:],
            target_sessions=self.target_sessions[-1:],
            closes=self.closes[-1:],
            dividends=self.dividends[-1:],
        )
