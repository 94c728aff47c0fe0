"""The nightly service: which teams trade, what one failing team does to the others, and liquidation by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import ConfigError, MlopsError, ServiceError
from mlops_cli.pipeline.trade.newest_forecasts import is_traded_by
from mlops_cli.pipeline.trade.paper_trade import (
    check_name,
    check_team,
    liquidate_team,
    teams_of,
    trade_teams,
)
from mlops_cli.trading.ledger.opening import PassAtWork, open_ledger, read_ledger
from mlops_cli.trading.passes.halt import HaltFiles
from mlops_cli.trading.passes.pass_report import PassReport
from mlops_cli.trading.schedule.alerts import Alerts
from tests.fakes.branches import branch_of
from tests.fakes.ledgers import EVENING, a_holding
from tests.fakes.scripted_broker import ScriptedBroker
from tests.fakes.train_jobs import model_spec as a_model


class Written(Alerts):
    """Alerts that are kept."""

    def __init__(self) -> None:
        super().__init__(None, None, print)
        self.lines: dict[str, list[str]] = {}

    def send(self, team, lines):
        if lines:
            self.lines[team] = list(lines)
        return bool(lines)


@dataclass
class Teams:
    """Passes by team: a report, or an error."""

    outcomes: dict[str, PassReport | Exception]
    ran: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    alerts: Written = field(default_factory=Written)

    def trade(self, team: str) -> PassReport:
        self.ran.append(team)
        outcome = self.outcomes[team]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def run(self, *, alerts: bool = True):
        return trade_teams(list(self.outcomes), self.trade, self.alerts if alerts else None, self.said.append)


class TestTradeTeams:
    @pytest.mark.parametrize("error", [ServiceError("busy\nin detail"), OSError("disk full")])
    def test_a_team_that_fails_does_not_stop_the_others(self, error):
        teams = Teams({"blue": error, "red": PassReport("red", alerts=["look"])})
        passes = teams.run()
        assert teams.ran == ["blue", "red"]
        assert [report.team for report in passes.reports] == ["red"]
        assert passes.failures == [error]
        assert teams.said == [f"failed: blue: {str(error).splitlines()[0]}"]
        assert teams.alerts.lines == {"blue": [str(error)], "red": ["look"]}

    def test_an_error_within_a_pass_is_a_failure_beside_its_report(self):
        error = MlopsError("broker gone")
        teams = Teams({"red": PassReport("red", outcome="failed", error=error, alerts=["broker gone"])})
        passes = teams.run()
        assert (len(passes.reports), passes.failures, teams.said) == (1, [error], [])
        assert teams.alerts.lines == {"red": ["broker gone"]}

    def test_another_pass_at_work_is_no_alert(self):
        teams = Teams({"red": PassAtWork("another paper-trade is running")})
        passes = teams.run()
        assert [failure.exit_code for failure in passes.failures] == [8]
        assert (teams.ran, teams.alerts.lines) == (["red"], {})

    def test_of_several_teams_one_that_another_process_has_is_tried_again_in_the_end(self):
        teams = Teams({"blue": PassAtWork("busy"), "red": PassReport("red")})
        busy = teams.trade

        def trade(team):
            if len(teams.ran) == 3:
                teams.outcomes["blue"] = PassReport("blue")
            return busy(team)

        passes = trade_teams(["blue", "red"], trade, teams.alerts, teams.said.append)
        assert teams.ran == ["blue", "red", "blue", "blue"]
        assert ([report.team for report in passes.reports], passes.failures) == (["red", "blue"], [])

    def test_it_is_not_waited_for_for_ever(self, monkeypatch):
        monkeypatch.setattr("mlops_cli.pipeline.trade.paper_trade.LEDGER_WAIT_SECONDS", 0.1)
        monkeypatch.setattr("mlops_cli.pipeline.trade.paper_trade.PAUSE_SECONDS", 0.02)
        teams = Teams({"blue": PassAtWork("busy"), "red": PassAtWork("busy")})
        assert [failure.exit_code for failure in teams.run().failures] == [8, 8]
        assert teams.alerts.lines == {}

    def test_one_team_s_failure_is_not_said_twice(self):
        teams = Teams({"red": ServiceError("busy")})
        assert len(teams.run().failures) == 1
        assert teams.said == []

    def test_a_dry_run_alerts_nobody(self):
        teams = Teams({"red": PassReport("red", alerts=["look"]), "blue": ServiceError("busy")})
        teams.run(alerts=False)
        assert teams.alerts.lines == {}

    def test_a_bug_is_not_swallowed(self):
        with pytest.raises(ZeroDivisionError):
            Teams({"red": ZeroDivisionError()}).run()


@dataclass
class OneBranch:
    """As much of a branch as choosing teams needs."""

    models: tuple[ModelSpec, ...]


def spec(name: str, team: str, **changes) -> ModelSpec:
    return a_model(name=name, team=team, **changes)


class TestTeams:
    BRANCH = OneBranch((spec("red-aapl", "red"), spec("blue-aapl", "blue")))

    def test_all_that_have_a_model_or_those_that_are_chosen(self):
        assert teams_of([self.BRANCH], []) == ["blue", "red"]
        assert teams_of([self.BRANCH], ["red", "red"]) == ["red"]

    def test_an_unknown_team_is_refused_with_the_names_there_are(self):
        with pytest.raises(ConfigError, match="--team gren: no model belongs to that team") as raised:
            teams_of([self.BRANCH], ["gren"])
        assert raised.value.hint == "teams: blue, red"
        check_team([self.BRANCH], "red")

    def test_a_model_in_two_branches_must_be_chosen(self):
        other = OneBranch((spec("red-aapl", "red"),))
        with pytest.raises(ConfigError, match="model red-aapl is in two branches"):
            teams_of([self.BRANCH, other], [])
        assert teams_of([self.BRANCH, other], ["blue"]) == ["blue"]

    def test_which_models_have_a_voice(self):
        assert is_traded_by(spec("red-aapl", "red"), "red", Rules())
        assert not is_traded_by(spec("red-aapl", "red"), "blue", Rules())
        assert not is_traded_by(spec("red-aapl-s", "red", small_of="red-aapl"), "red", Rules()), (
            "stands in under load only"
        )
        assert not is_traded_by(spec("red-aapl", "red"), "red", Rules(models=("red-m*",)))
        assert is_traded_by(spec("red-aapl", "red"), "red", Rules(models=("x", "red-a*")))


class TestLiquidateTeam:
    @pytest.fixture
    def project(self, tmp_path) -> Project:
        (tmp_path / "params.yaml").touch()
        return Project.at(tmp_path)

    def test_it_halts_the_team_and_closes_its_positions(self, project):
        broker = ScriptedBroker(holdings={"AAPL": a_holding("AAPL", "10")})
        with open_ledger(project.ledger("red"), "red") as ledger:
            ledger.open_account("account-1", broker.state.cash, {"AAPL": Decimal(10)}, (), EVENING)
        done = liquidate_team(project, "red", lambda: broker)
        assert len(done.sent) == 1
        assert (HaltFiles(project.ledgers, "red").reason() or "").startswith("liquidated")
        with read_ledger(project.ledger("red")) as ledger:
            assert [row["ticker"] for row in ledger.rows("orders")] == ["AAPL"]

    def test_the_team_is_halted_even_where_the_broker_is_not_reached(self, project):
        def fail():
            raise ConfigError("no keys")

        with pytest.raises(ConfigError, match="no keys"):
            liquidate_team(project, "red", fail)
        assert HaltFiles(project.ledgers, "red").reason() is not None

    def test_another_team_s_account_is_not_touched(self, project):
        project.ledgers.mkdir(parents=True)
        with open_ledger(project.ledger("blue"), "blue") as ledger:
            ledger.open_account("account-1", ScriptedBroker().state.cash, {}, (), EVENING)
        broker = ScriptedBroker(holdings={"AAPL": a_holding("AAPL", "10")})
        with pytest.raises(ConfigError, match="team blue trades on"):
            liquidate_team(project, "red", lambda: broker)
        assert broker.submitted == []


class TestCheckName:
    @pytest.fixture
    def project(self, tmp_path) -> Project:
        (tmp_path / "params.yaml").touch()
        return Project.at(tmp_path)

    @pytest.mark.parametrize("team", ["../../../x", "..", "", "a/b", "Red", "red\n", "-red", "x" * 65, "/etc/passwd"])
    def test_a_name_that_would_leave_the_folder_is_refused_before_anything_else(self, project, team):
        def fail():
            raise AssertionError("not asked")

        with pytest.raises(ConfigError, match="no name of a team"):
            check_name(project, fail, team)

    def test_a_team_is_one_that_has_a_model(self, project):
        branches = [branch_of(a_model("red-aapl"))]
        check_name(project, lambda: branches, "red")
        with pytest.raises(ConfigError, match="no model belongs to that team"):
            check_name(project, lambda: branches, "rde")

    def test_one_with_a_ledger_or_a_halt_file_needs_no_configs(self, project):
        def fail():
            raise AssertionError("the configs may be broken")

        with open_ledger(project.ledger("old"), "old"):
            check_name(project, fail, "old")
        HaltFiles(project.ledgers, "stopped").halt("why")
        check_name(project, fail, "stopped")
