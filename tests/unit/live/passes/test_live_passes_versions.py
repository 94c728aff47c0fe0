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
