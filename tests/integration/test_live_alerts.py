"""What whole passes tell people: late prices once and once when they came, nights without a pass, states of health."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_cli.live.passes.live_pass import STEPS, PassResult, run_pass
from mlops_cli.live.watch.states import read_states
from mlops_cli.live.watch.told import read_told
from tests.fakes.live_nights import LiveNights


class Nights(LiveNights):
    """Nights whose passes keep what they told."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.told: list[str] = []

    def pass_of(self, night: int, *tickers: str) -> list[str]:
        """Run a pass of a night on which these tickers have prices; returns what it told."""
        self.show(night, tickers or None)
        told: list[str] = []
        result: PassResult = run_pass(self.context(night, alert=told.extend), STEPS)
        assert {outcome.step for outcome in result.outcomes} == set(STEPS)
        assert [outcome.error for outcome in result.outcomes if outcome.error] == []
        return told


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path / "p")


def test_late_prices_are_told_once_and_that_they_came(nights: Nights):
    assert nights.pass_of(0) == []
    late = nights.pass_of(1, "AAA")
    assert any("main: BBB has no prices of" in line for line in late)
    assert all(" - type: mlops " in line for line in late)
    assert nights.pass_of(1, "AAA") == []
    assert all(line.startswith("over: ") for line in nights.pass_of(1))
    assert nights.pass_of(1) == []
    assert read_told(nights.project.live) == {}


def test_a_night_without_a_pass_is_told_and_health_goes_on(nights: Nights):
    nights.pass_of(0)
    nights.pass_of(1)
    assert {str(model.state) for model in read_states(nights.project).models.values()} <= {"healthy", "not judged"}
    day = nights.sessions[2].date()
    assert nights.pass_of(3) == [
        f"no pass came after the close of {day}: no forecasts were issued then - type: mlops doctor"
    ]
    assert nights.pass_of(3) == []
    record = json.loads((nights.project.live / "passes" / f"{nights.sessions[3].date()}.json").read_text())
    assert record["steps"]["health"]["figures"]["missed_sessions"] == 1


@pytest.mark.slow
def test_the_command_line_tells_through_the_alert_command(nights: Nights, tmp_path: Path):
    nights.show(0)
    told = tmp_path / "told"
    code = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())"
    command = shlex.join([sys.executable, "-c", code])
    params = nights.project.params
    params.write_text(f"{params.read_text()}trading: {{alert_command: {json.dumps(command)}}}\n")
    for _ in range(2):  # the last session of the prices is years ago: all are stale
        done = subprocess.run(
            [sys.executable, "-m", "mlops_cli", "live", "--project", str(nights.project.root)],
            capture_output=True,
            check=False,
            text=True,
        )
        assert "Traceback" not in done.stderr
    assert told.read_text().startswith("mlops live, p:\n")
    assert told.read_text().count("2 of 2 tickers have no prices of") == 1
    shown = subprocess.run(
        [sys.executable, "-m", "mlops_cli", "models", "health", "--json", "--project", str(nights.project.root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(shown.stdout)["models"]) == 2
