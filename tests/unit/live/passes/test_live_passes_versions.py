"""Which version answers, and what is trained, over nights in which the config, prices and trainings change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlops_cli.live.passes.live_pass import PassResult
from mlops_cli.live.passes.step import StepOutcome
from tests.fakes.live_nights import LiveNights

OTHER_FEATURES = "team: red\ntickers: [AAA, BBB]\nfeatures: {returns: [1, 2], volatility: [5], ranges: true}\n"


def nights(root: Path, **live: Any) -> LiveNights:
    made = LiveNights(root, nights=3)
    params = made.small.root / "params.yaml"
    params.write_text(params.read_text() + f"live: {json.dumps(live)}\n")
    return made


def outcome(result: PassResult, step: str) -> StepOutcome:
    return next(outcome for outcome in result.outcomes if outcome.step == step)


def test_tested_forecasts_on_after_the_features_of_the_config_changed(tmp_path: Path) -> None:
    made = nights(tmp_path / "p", promotion="tested")
    assert outcome(made.run(0), "issue").done == 2
    made.small.config("linear", OTHER_FEATURES)
    for night in (1, 2):
        result = made.run(night)
        assert [outcome(result, step).failures for step in ("judge", "issue")] == [[], []]
        assert outcome(result, "issue").done == 2


def test_models_that_cannot_forecast_are_trained_however_few_a_pass_may_train(tmp_path: Path) -> None:
    made = nights(tmp_path / "p", retrain={"at_most": 0})
    made.run(0)
    made.small.config("linear", OTHER_FEATURES)
    result = made.run(1)
    assert outcome(result, "retrain").figures == {"due": {"features": 2}, "waiting": 0}
    assert outcome(result, "issue").done == 2


def test_prices_corrected_after_the_training_of_the_same_night_are_seen(tmp_path: Path) -> None:
    made = nights(tmp_path / "p")
    assert outcome(made.run(0), "retrain").done == 2
    corrected = made.prices["AAA"].copy()
    corrected.iloc[300:305] *= 1.01
    made.prices["AAA"] = corrected
    again = outcome(made.run(0), "retrain")
    assert (again.figures["due"], again.done) == ({"new_data_restated": 1}, 1)
    assert outcome(made.run(1), "retrain").done == 0


def test_a_split_is_no_reason_to_train_again(tmp_path: Path) -> None:
    made = nights(tmp_path / "p")
    made.run(0)
    scaled = made.prices["AAA"].copy()
    scaled[["open", "high", "low", "close"]] /= 3.0
    made.prices["AAA"] = scaled
    result = made.run(1)
    assert "earlier closes of AAA changed" in "".join(outcome(result, "check").lines)
    assert outcome(result, "retrain").figures["due"] == {}
    assert outcome(result, "issue").done == 2
