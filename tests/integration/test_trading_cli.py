"""`mlops paper-trade`, `ledger` and `schedule` as a person and as cron run them, against the real exchange over HTTP.

The commands run in this process, as starting one costs a second; `test_the_program_itself` starts it.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from mlops_cli import wiring
from mlops_cli.cli.app import app
from mlops_cli.config.schemas.trading import Trading
from mlops_cli.config.settings import AccountKeys, Settings
from mlops_cli.errors import ConfigError
from mlops_cli.trading.passes.order_window import PRICES_UNTIL
from mlops_cli.trading.schedule.schedule import Job
from tests.fakes.cli import Cli
from tests.fakes.exchange_server import ExchangeServer, exchange_server
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.projects import FEATURES, SmallProject, small_project

TICKERS = ("AAA", "BBB")


@dataclass
class InProcess:
    """The commands of a project folder, with variables of their own."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def mlops(self, *arguments: str, typed: str = "", **env: str) -> SimpleNamespace:
        clean = {name: None for name in os.environ if name.startswith(("ALPACA_", "MLOPS_"))}
        every = {**clean, "MLOPS_TRACKING": "off", **self.env, **env}
        words = [*arguments, "--project", str(self.root)]
        done = CliRunner().invoke(app, words, env=every, input=typed, prog_name="mlops")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)


SECRET = "hush-hush-secret"


@pytest.fixture(scope="module")
def traded(tmp_path_factory) -> SmallProject:
    """A project whose teams red and blue trade two stocks whatever their skill."""
    made = small_project(tmp_path_factory.mktemp("trading") / "project", TICKERS, sessions=700)
    made.config("blue", f"team: blue\ntickers: [AAA]\nfeatures: {FEATURES}\n")
    params = made.root / "params.yaml"
    free = "costs: {half_spread_bps: 0, slippage_bps: 0, sell_fee_bps: 0}"
    params.write_text(
        params.read_text().replace("min_sessions: 200", "min_sessions: 200, shrinkage: 1.0")
        + f"trading: {{trade_without_skill: true, positions: long_short, {free}}}\n"
    )
    assert not [failure for report in made.run(LinearTrainer()) for failure in report.failures]
    return made


@pytest.fixture(scope="module")
def prices(traded) -> dict[str, pd.DataFrame]:
    return {ticker: pd.read_parquet(traded.project.prices("main") / f"{ticker}.parquet") for ticker in TICKERS}


@pytest.fixture(scope="module")
def server(prices) -> Iterator[ExchangeServer]:
    last = max(table.index[-1] for table in prices.values())
    with exchange_server(prices, start=f"{last:%Y-%m-%d}T22:00:00+00:00") as made:
        yield made


@pytest.fixture(scope="module")
def cli(traded, server) -> InProcess:
    keys = {f"ALPACA_API_KEY_{team}": f"KEY-OF-{team}" for team in ("RED", "BLUE")}
    secrets = {f"ALPACA_SECRET_KEY_{team}": f"{SECRET}-{team}" for team in ("RED", "BLUE")}
    return InProcess(traded.root, {**keys, **secrets, "ALPACA_BASE_URL": f"{server.url}/v2"})


def test_without_keys_it_says_which_two_and_where_and_offers_the_local_exchange(traded):
    done = InProcess(traded.root).mlops("paper-trade", "--team", "red")
    assert done.returncode == 3
    for words in ("ALPACA_API_KEY and ALPACA_SECRET_KEY are not set", ".env", "mlops exchange serve",
                  "ALPACA_BASE_URL=http://127.0.0.1:8081", "--replay"):  # fmt: skip
        assert words in done.stderr
    both = InProcess(traded.root).mlops("paper-trade")
    assert both.returncode == 3
    assert "ALPACA_SECRET_KEY_BLUE" in both.stderr
    assert "ALPACA_SECRET_KEY_RED" in both.stderr


def test_two_teams_never_share_an_account(traded, server):
    env = {name: "the-same" for name in ("ALPACA_API_KEY_RED", "ALPACA_API_KEY_BLUE")}
    secrets = {name: "the-same" for name in ("ALPACA_SECRET_KEY_RED", "ALPACA_SECRET_KEY_BLUE")}
    done = InProcess(traded.root, {**env, **secrets, "ALPACA_BASE_URL": server.url}).mlops("paper-trade")
    assert done.returncode == 3
    assert "have the same key" in done.stderr
    assert server.exchange.state.accounts == {}


@pytest.mark.parametrize(
    ("live", "switch", "address"),
    [
        (True, "", ""),
        (False, "yes", "https://api.alpaca.markets"),
        (False, "", "https://api.alpaca.markets/v2"),
        (False, "", "HTTPS://API.alpaca.markets:443"),
        (False, "yes", "http://api.alpaca.markets./"),
    ],
)
def test_real_money_needs_both_switches(live, switch, address):
    settings = Settings(MLOPS_LIVE_TRADING=bool(switch), ALPACA_BASE_URL=address)
    keys = AccountKeys(SecretStr("k"), SecretStr("s"))
    with pytest.raises(ConfigError, match="trades real money: refused"):
        wiring.broker(keys, Trading(live=live), settings)
    paper = wiring.broker(keys, Trading(), Settings())
    assert paper.address == "https://paper-api.alpaca.markets"
    both = wiring.broker(keys, Trading(live=True), Settings(MLOPS_LIVE_TRADING=True))
    assert both.address == "https://api.alpaca.markets"


def test_a_pass_from_prices_to_orders_and_again(cli, server):
    dry = cli.mlops("paper-trade", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "dry run" in dry.stdout
    assert not list((cli.root / ".mlops" / "ledger").glob("*.db")), "a dry run leaves no ledger"
    assert all(not account.orders for account in server.exchange.state.accounts.values())
    first = cli.mlops("paper-trade", "--json")
    assert first.returncode == 0, first.stderr
    reports = {report["team"]: report for report in json.loads(first.stdout)}
    assert set(reports) == {"blue", "red"}
    assert {decision["ticker"] for decision in reports["red"]["decisions"]} == set(TICKERS)
    sent = sum(len(report["sent"]) for report in reports.values())
    assert sent == sum(len(account.orders) for account in server.exchange.state.accounts.values()) > 0
    again = cli.mlops("paper-trade")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("0 orders sent") == 2
    assert "this machine's clock is" in again.stderr, "it is: the exchange stands in another year"


def test_the_ledger_tells_it_all(cli, server, tmp_path):
    server.advance(to="next_close", seconds=1800)
    assert cli.mlops("paper-trade", "--team", "red").returncode in (0, 9)
    found = {
        name: json.loads(cli.mlops("ledger", name, "--json", "--team", "red").stdout)["red"]
        for name in ("orders", "fills", "positions", "equity", "decisions")
    }
    bought = {row["ticker"]: row for row in found["orders"] if row["status"] == "filled"}
    assert bought
    assert {row["client_order_id"] for row in found["fills"]} == {row["client_order_id"] for row in bought.values()}
    account = server.exchange.state.accounts["KEY-OF-RED"]
    assert {row["ticker"]: row["qty"] for row in found["positions"]} == {
        name: str(position.qty) for name, position in account.positions.items()
    }
    assert len(found["equity"]) == 2
    assert all(row["models"] and row["version"] for row in [*found["orders"]] if row.get("models"))
    done = cli.mlops("ledger", "export", str(tmp_path / "out"), "--team", "red")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "red-fills.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(found["fills"])
    assert {f"red-{name}.csv" for name in ("activities", "holdings")} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert "AAA" in cli.mlops("ledger", "decisions").stdout


def test_prices_that_end_too_early_are_said_to_and_not_traded(cli):
    done = cli.mlops("paper-trade", "--team", "blue")
    assert "no forecast: blue-aaa: its prices end on" in done.stderr


def test_the_program_itself(cli, server, traded):
    done = Cli(traded.root, cli.env).mlops("paper-trade", "--team", "red")
    assert done.returncode == 0, done.stderr
    assert "2 models wait for prices" in done.stdout


def test_halt_and_resume(cli):
    assert cli.mlops("paper-trade", "halt", "--team", "red", "--reason", "lunch").returncode == 0
    done = cli.mlops("paper-trade", "--team", "red")
    assert (done.returncode, "halted: lunch" in done.stdout) == (0, True)
    assert "the halt is lifted" in cli.mlops("paper-trade", "resume", "--team", "red").stdout


def test_liquidate_asks_halts_and_sells(cli, server):
    assert cli.mlops("paper-trade", "liquidate", "--team", "red", typed="n\n").returncode != 0
    done = cli.mlops("paper-trade", "liquidate", "--team", "red", "--yes")
    assert done.returncode == 0, done.stderr
    server.advance(to="next_open", seconds=60)
    assert server.exchange.state.accounts["KEY-OF-RED"].positions == {}
    assert "halted: liquidated" in cli.mlops("paper-trade", "--team", "red").stdout
    cli.mlops("paper-trade", "resume", "--team", "red")


def test_a_misspelt_team_neither_sells_another_teams_shares_nor_seems_halted(cli, server):
    keys = {"ALPACA_API_KEY": "KEY-OF-RED", "ALPACA_SECRET_KEY": f"{SECRET}-RED"}
    before = set(server.exchange.state.accounts["KEY-OF-RED"].orders)
    done = cli.mlops("paper-trade", "liquidate", "--team", "rde", "--yes", **keys)
    assert (done.returncode, set(server.exchange.state.accounts["KEY-OF-RED"].orders)) == (3, before)
    assert "no model belongs to that team" in done.stderr
    assert not (cli.root / ".mlops" / "ledger" / "HALT-rde").exists()
    for command in ("halt", "resume", "liquidate"):
        for name in ("rde", "../../../x", "", "Red", "red/../blue", "all2"):
            done = cli.mlops("paper-trade", command, "--team", name)
            assert done.returncode in (2, 3), (command, name, done.stderr)
    assert {path.name for path in (cli.root / ".mlops" / "ledger").glob("HALT-*")} <= {"HALT-red", "HALT-all"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dry-run", "liquidate", "--team", "red", "--yes"], '--dry-run has no effect before "liquidate"'),
        (["--team", "red", "halt"], '--team has no effect before "halt"'),
        (["--days", "5"], "--days is for the past"),
        (["--trade-without-skill"], "--trade-without-skill is for the past"),
        (["--replay", "9999-12-30"], "no day between 1900 and 2200"),
        (["--replay", "2017-01-03", "--days", "10000000"], "36600"),
        (["--replay", "2017-01-03", "--dry-run"], "--dry-run is for passes at the broker"),
    ],
)
def test_an_option_where_it_says_nothing_is_refused_not_dropped(cli, server, words, said):
    before = {key: set(one.orders) for key, one in server.exchange.state.accounts.items()}
    done = cli.mlops("paper-trade", *words)
    assert (done.returncode, said in " ".join(done.stderr.replace("│", "").split())) == (2, True), done.stderr
    assert {key: set(one.orders) for key, one in server.exchange.state.accounts.items()} == before
    assert not list((cli.root / ".mlops" / "ledger").glob("HALT-*"))


@pytest.mark.parametrize("qty", ["nan", "sNaN", "Infinity", "many"])
def test_only_a_number_of_shares_is_accepted(cli, traded, qty):
    before = cli.mlops("ledger", "positions", "--json").stdout
    done = cli.mlops("ledger", "accept", "AAPL", "--qty", qty, "--team", "red")
    assert (done.returncode, "no number" in done.stderr) == (2, True), done.stderr
    assert cli.mlops("ledger", "accept", " ", "--qty", "1", "--team", "red").returncode == 2
    assert cli.mlops("ledger", "positions", "--json").stdout == before


def test_a_halted_team_is_told_which_halt_to_lift(cli):
    for name in ("red", "all"):
        assert cli.mlops("paper-trade", "halt", "--team", name).returncode == 0
    said = cli.mlops("paper-trade", "--team", "red").stdout
    assert "Go on with: mlops paper-trade resume --team all && mlops paper-trade resume --team red" in said
    assert "still halted" in cli.mlops("paper-trade", "resume", "--team", "red").stderr
    cli.mlops("paper-trade", "halt", "--team", "blue")
    assert "resume --team blue" in cli.mlops("paper-trade", "resume").stderr, "one team's halt is not all teams'"
    cli.mlops("paper-trade", "resume", "--team", "blue")
    cli.mlops("paper-trade", "halt")
    assert "all: the halt is lifted" in cli.mlops("paper-trade", "resume").stdout


def test_one_team_that_fails_does_not_hide_what_the_other_did(cli):
    cli.mlops("paper-trade")  # the exchange opens an account for a new key, whatever its secret
    done = cli.mlops("paper-trade", ALPACA_SECRET_KEY_BLUE="not-the-secret-of-blue")
    assert done.returncode == 3
    assert done.stdout.startswith("red: ")
    assert "failed: blue: " in done.stderr


def test_alerts_go_to_the_webhook_and_to_the_command(traded, server, cli, tmp_path):
    got: list[dict] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    hook = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    text = traded.root / "params.yaml"
    before = text.read_text()
    text.write_text(before.replace("trading: {", f"trading: {{alert_command: 'tee {tmp_path}/alert', "))
    try:
        server.sim("POST", "faults", kind="status", status=401)
        done = cli.mlops("paper-trade", "--team", "red", MLOPS_ALERT_WEBHOOK=f"http://127.0.0.1:{hook.server_port}/x")
    finally:
        server.clear()
        text.write_text(before)
        hook.shutdown()
        hook.server_close()
    assert done.returncode == 3
    assert got[0]["team"] == "red"
    assert "refuses the keys" in got[0]["text"]
    assert "refuses the keys" in (tmp_path / "alert").read_text()


def test_no_secret_is_in_any_file_or_output(cli, traded):
    outputs = [cli.mlops("ledger", name, "--json").stdout for name in ("orders", "events")]
    outputs += [path.read_bytes().decode("latin-1") for path in (traded.root / ".mlops").rglob("*") if path.is_file()]
    for text in outputs:
        assert SECRET not in text
        assert "KEY-OF-" not in text


def test_the_schedule_goes_into_the_crontab_once_and_leaves_the_rest(cli, traded, tmp_path):
    table = tmp_path / "table"
    table.write_text("# mine\n0 1 * * * backup\n")
    crontab = tmp_path / "bin" / "crontab"
    crontab.parent.mkdir()
    crontab.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then cat "{table}"; else cat > "{table}"; fi\n')
    crontab.chmod(0o755)
    path = f"{crontab.parent}{os.pathsep}{os.environ['PATH']}"
    for _ in range(2):
        done = cli.mlops("schedule", "install", PATH=path)
        assert done.returncode == 0, done.stderr
    lines = table.read_text().splitlines()
    assert lines[:2] == ["# mine", "0 1 * * * backup"]
    assert lines.count("CRON_TZ=America/New_York") == 1
    assert sum("mlops live --project" in line for line in lines) == 3
    assert sum("paper-trade" in line and "--team red" in line for line in lines) == 1
    assert (traded.root / ".mlops" / "logs" / "rotation.conf").is_file()
    assert cli.mlops("schedule", "show").stdout.splitlines()[1:5] == lines[3:7]


def test_timers_keep_exchange_time(cli):
    shown = cli.mlops("schedule", "show", "--with", "systemd", "--team", "red").stdout
    assert "OnCalendar=Mon..Fri *-*-* 16:25:00 America/New_York" in shown
    line = next(line for line in shown.splitlines() if line.startswith("ExecStart="))
    assert subprocess.run([*line.removeprefix("ExecStart=").split()[:1], "--version"], check=True)


@pytest.mark.parametrize("minutes", [0, 5, 20, 60, 600])
def test_one_pass_comes_when_late_prices_are_waited_for_no_longer(minutes):
    *_, last = Job(Path("p"), Path("mlops"), ("red",), minutes).times
    assert last > PRICES_UNTIL or minutes == 600, "at 600 minutes it is the next morning's"


def test_cron_in_utc_has_winter_and_summer_times(cli):
    shown = cli.mlops("schedule", "show", "--with", "cron-utc", "--team", "red").stdout
    assert "CRON_TZ" not in shown
    times = [tuple(map(int, line.split()[:2])) for line in shown.splitlines() if "mlops live --" in line]
    assert (25, 20) in times, "16:25 in summer"
    assert (25, 21) in times, "16:25 in winter"
