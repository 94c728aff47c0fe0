"""Which inputs moved since training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.live.health.input_drift import Moved, in_words, moved_features


def smooth(number: int, seed: int, weight: float = 0.9) -> np.ndarray:
    """An autoregressive series of variance 1, as most features are."""
    noise = np.random.default_rng(seed).normal(size=number) * np.sqrt(1 - weight**2)
    values, value = np.empty(number), 0.0
    for place, step in enumerate(noise):
        value = weight * value + step
        values[place] = value
    return values


def table(rows: int, seed: int, features: int = 4) -> pd.DataFrame:
    return pd.DataFrame({f"f{place}": smooth(rows, seed * 100 + place) for place in range(features)})


HISTORY = table(1060, 1)
TRAINING, RECENT = HISTORY[:1000], HISTORY[1000:]


def test_a_moved_feature_is_named_with_its_distance_in_spreads() -> None:
    moved = moved_features(TRAINING, RECENT.assign(f2=RECENT["f2"] + 5.0))
    assert moved[0].feature == "f2"
    spread = TRAINING["f2"].std()
    shift = (RECENT["f2"].mean() + 5.0 - TRAINING["f2"].mean()) / spread
    assert moved[0].distance == pytest.approx(shift, rel=0.02)
    assert moved[0].times > 3.0
    assert moved[0].now - moved[0].before == pytest.approx(shift * spread)


def test_slow_features_are_not_said_to_move_when_nothing_changed() -> None:
    """The limit is that of stretches of the training rows: some 5 % of features exceed it, though rows are few."""
    tables = [table(1060, seed, features=8) for seed in range(5)]
    number = sum(len(moved_features(rows[:1000], rows[1000:])) for rows in tables)
    assert number <= 8  # of 40


def test_a_change_of_spread_counts_too() -> None:
    moved = moved_features(TRAINING, RECENT.assign(f1=RECENT["f1"] * 6.0))
    assert moved[0].feature == "f1"


def test_the_furthest_comes_first() -> None:
    changed = RECENT.assign(f0=RECENT["f0"] + 4.0, f3=RECENT["f3"] - 9.0)
    names = [entry.feature for entry in moved_features(TRAINING, changed)]
    assert names[:2] == ["f3", "f0"]


def test_units_do_not_matter() -> None:
    scaled = moved_features(TRAINING * 1000.0, RECENT * 1000.0 + 4000.0)
    plain = moved_features(TRAINING, RECENT + 4.0)
    assert [entry.feature for entry in scaled] == [entry.feature for entry in plain]
    assert [entry.distance for entry in scaled] == pytest.approx([entry.distance for entry in plain])


def test_a_constant_that_changed_is_named() -> None:
    moved = moved_features(TRAINING.assign(flag=0.0), RECENT.assign(flag=1.0))
    assert (moved[0].feature, moved[0].distance, moved[0].times) == ("flag", 1.0, np.inf)
    assert moved_features(TRAINING[[]].assign(flag=0.0), RECENT.assign(flag=0.0)) == []


@pytest.mark.parametrize(("training", "recent"), [(1000, 19), (79, 20), (0, 20), (1000, 0)])
def test_too_few_rows_say_nothing(training: int, recent: int) -> None:
    assert moved_features(TRAINING[:training], RECENT[:recent] + 50.0) == []


def test_missing_values_are_left_out() -> None:
    holes = RECENT.assign(f2=RECENT["f2"].where(np.arange(60) % 2 == 0) + 9.0, f0=np.nan)
    assert moved_features(TRAINING, holes)[0].feature == "f2"


def test_words_for_at_most_three_features() -> None:
    moved = [Moved(f"f{place}", 2.0, 1.0, 0.012345, 1.5) for place in range(5)]
    assert in_words([]) == ""
    assert in_words(moved[:1]) == "inputs that are not as in training: f0 (mean 0.01235 before, 1.5 now)"
    assert in_words(moved).endswith("f2 (mean 0.01235 before, 1.5 now) and 2 more")
