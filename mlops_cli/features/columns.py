"""The input columns of a feature set: names, order, formulas, and the sessions that each needs before its first row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from mlops_cli.config.schemas.project import FeatureSpec, Macd, Target
from mlops_cli.errors import ConfigError
from mlops_cli.features import indicators as ind

SETTLED = 1e-6
"""The share of an exponential average's arbitrary starting value that may remain in the first row of the table.

TA-Lib starts its exponential averages from the first bars that it gets. 1e-6 costs about 200 rows at the start of the
history. In return, the start of the history changes the features by less than a model can notice.
"""


@dataclass(frozen=True)
class Feature:
    """One input column.

    Attributes:
        warm_up: number of bars before the first one whose value is defined and no longer depends on the start.
        formula: computes one value per bar; see `indicators`.
    """

    warm_up: int
    formula: ind.Formula


_RANGES = {
    "range_high_low": Feature(0, ind.range_high_low),
    "range_open_close": Feature(0, ind.range_open_close),
    "close_position": Feature(0, ind.close_position),
}
_CALENDAR = {
    "day_of_week": Feature(0, ind.day_of_week),
    "month": Feature(0, ind.month),
    "days_to_next_session": Feature(0, ind.days_to_next_session),
}
_MACD_LINES = ("macd", "macd_signal", "macd_histogram")


def input_features(spec: FeatureSpec, target: Target) -> dict[str, Feature]:
    """The input columns of a feature set, in order; a repeated window counts once.

    Raises:
        ConfigError: a window of 1 where it has no meaning (a mean or a deviation over one session).
    """
    _check_windows(spec)
    return {
        **{f"return_{n}": Feature(n, partial(ind.period_return, sessions=n)) for n in spec.returns},
        **(_RANGES if spec.ranges else {}),
        **{f"sma_ratio_{n}": Feature(n - 1, partial(ind.sma_ratio, sessions=n)) for n in spec.moving_averages},
        **{f"rsi_{n}": Feature(n + _settling(1 / n), partial(ind.rsi, sessions=n)) for n in spec.rsi},
        **(_macd(spec.macd) if spec.macd else {}),
        **{f"volatility_{n}": Feature(n, partial(ind.volatility, sessions=n)) for n in spec.volatility},
        **{f"volume_ratio_{n}": Feature(n, partial(ind.volume_ratio, sessions=n)) for n in spec.volume},
        **{name: _CALENDAR[name] for name in spec.calendar},
        **({"close": Feature(0, ind.close_price)} if target == "close" else {}),
        **_history(spec),
    }


def history_columns(spec: FeatureSpec) -> tuple[str, ...]:
    """Names of the last `spec.history` one-day log returns, oldest first; the last one is the row's own return.

    The numbers have leading zeros (at least two digits), so that sorting the names keeps their order.
    """
    width = max(2, len(str(spec.history - 1)))
    return tuple(f"history_{i:0{width}d}" for i in range(spec.history))


def _macd(spans: Macd) -> dict[str, Feature]:
    # TA-Lib's look-back, plus the time until the slowest average no longer depends on its start
    settling = _settling(2 / (max(spans.slow, spans.signal) + 1))
    warm_up = spans.slow + spans.signal - 2 + settling
    return {name: Feature(warm_up, partial(ind.macd, spans=spans, line=line)) for line, name in enumerate(_MACD_LINES)}


def _history(spec: FeatureSpec) -> dict[str, Feature]:
    ages = reversed(range(spec.history))
    return {
        name: Feature(age + 1, partial(ind.past_return, age=age))
        for name, age in zip(history_columns(spec), ages, strict=True)
    }


def _settling(alpha: float) -> int:
    """Number of bars until only `SETTLED` of the starting value remains in an exponential average with this alpha."""
    return math.ceil(math.log(SETTLED) / math.log1p(-alpha))


def _check_windows(spec: FeatureSpec) -> None:
    with_one = [key for key in ("moving_averages", "rsi", "volatility") if 1 in getattr(spec, key)]
    if with_one:
        raise ConfigError(
            "; ".join(f"features.{key}: expected windows of 2 sessions or more, was 1" for key in with_one),
            "remove the 1; for the one-day return write returns: [1]",
        )
