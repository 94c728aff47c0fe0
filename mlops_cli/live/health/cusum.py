"""The cumulative sum (CUSUM) of evidence that a model got worse.

Page (1954): C_t = max(0, C_t-1 + s(x_t)), where s is the log likelihood ratio of "worse" to "as before". Among all
rules with the same rate of false alarms this one finds a change to "worse" soonest (Moustakides 1986). The signal x has
mean 0 and spread 1 as before. When noise gets into forecasts, their errors grow on average, and vary much more. So
worse means mean 0.5 and spread 3:

    s(x) = ln(1/3) + x^2 / 2 - (x - 0.5)^2 / (2 * 9),    at most 5, so that one day alone never raises an alarm

The sum forgets good times (it never falls below 0): it is one-sided.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlops_cli.live.health.outcomes import Floats

EvidenceOf = Callable[[Floats], Floats]

WORSE_MEAN = 0.5
WORSE_SPREAD = 3.0
MOST = 5.0

YEAR = 252
"""Sessions over which the probability of a false alarm is stated."""


def evidence(signal: Floats) -> Floats:
    """s(x) of standardised signals, any shape; NaN stays NaN."""
    worse = (signal - WORSE_MEAN) / WORSE_SPREAD
    ratio: Floats = -np.log(WORSE_SPREAD) + (signal**2 - worse**2) / 2.0
    return np.minimum(ratio, MOST)


def shift_evidence(signal: Floats) -> Floats:
    """Evidence that standardised signals of any shape moved up by one spread; their spread counts little."""
    return np.minimum(signal - 0.5, MOST)


def peaks(signals: Floats, evidence_of: EvidenceOf = evidence) -> Floats:
    """Largest sum of each series of standardised signals, shape (t, n) without NaN; returns shape (n,)."""
    total = np.zeros(signals.shape[1])
    peak = total.copy()
    for row in evidence_of(signals):
        total += row
        np.maximum(total, 0.0, out=total)
        np.maximum(peak, total, out=peak)
    return peak
