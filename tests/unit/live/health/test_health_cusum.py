"""Evidence and its sum, against likelihoods of scipy and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from mlops_cli.live.health.cusum import MOST, WORSE_MEAN, WORSE_SPREAD, evidence, peaks


def test_evidence_is_a_log_likelihood_ratio() -> None:
    signal = np.linspace(-3.5, 3.3, 41)
    expected = norm.logpdf(signal, WORSE_MEAN, WORSE_SPREAD) - norm.logpdf(signal)
    np.testing.assert_allclose(evidence(signal), expected, rtol=1e-12)


def test_one_session_gives_bounded_evidence() -> None:
    assert evidence(np.array([1e9, -1e9])).tolist() == [MOST, MOST]
    assert np.isnan(evidence(np.array([np.nan])))[0]


def test_worse_gives_more_evidence_than_better() -> None:
    sizes = np.linspace(0.1, 3.0, 30)
    assert (evidence(sizes) > evidence(-sizes)).all()


def test_evidence_falls_on_average_as_long_as_nothing_changes() -> None:
    signal = np.random.default_rng(4).normal(size=100_000)
    assert evidence(signal).mean() == pytest.approx(np.log(1 / 3) + 0.5 - 1.25 / 18, abs=0.01)
    assert evidence(signal * 3.0 + 0.5).mean() > 0.5


@given(arrays(np.float64, (12, 3), elements=st.floats(-4, 4)))
def test_peaks_are_those_of_a_plain_loop(signals: np.ndarray) -> None:
    for column, expected in zip(signals.T, peaks(signals), strict=True):
        total, highest = 0.0, 0.0
        for value in column:
            total = max(0.0, total + float(evidence(np.array(value))))
            highest = max(highest, total)
        assert expected == pytest.approx(highest, abs=1e-12)


@given(arrays(np.float64, (12, 2), elements=st.floats(-4, 4)))
def test_a_peak_is_the_best_stretch(signals: np.ndarray) -> None:
    """Page's sum is the largest sum of evidence over any stretch that ends in a session."""
    steps = evidence(signals)
    stretches = [steps[a:b].sum(axis=0) for a in range(12) for b in range(a, 13)]
    np.testing.assert_allclose(peaks(signals), np.max(stretches, axis=0), atol=1e-9)
