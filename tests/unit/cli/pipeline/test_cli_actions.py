"""`mlops ingest` over files of prices and dividends, and `actions list`, `prices show` and `doctor` about them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.cli.pipeline.prices import tell_repairs
from mlops_cli.config.load import load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.market.sessions import sessions
from mlops_cli.scaffold.doctor import examine
from tests.fakes.config_projects import make_project
from tests.fakes.dividend_prices import paying_prices
from tests.fakes.fake_corporate_actions import KEY, FakeCorporateActions

CONFIG = "team: red\ntickers: [PAYS, NONE, UNSAID]\ntrainer: naive\n"
TODAY = datetime.now(ZoneInfo("America/New_York")).date()  # dividends are seen on a day of the exchange
COMING = sessions("XNYS", TODAY + timedelta(days=28), TODAY + timedelta(days=40))[0].date()
ACTIONS = f"ex_date,amount,announced\n2024-02-08,0.5,\n2024-05-09,0.75,2024-04-20\n{COMING},0.8,\n"


def csv(folder: Path, ticker: str, bars: pd.DataFrame) -> None:
    names = {name: name.replace("_", " ").title() for name in bars.columns}
    bars.rename(columns=names).rename_axis("Date").to_csv(folder / f"{ticker}.csv")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """PAYS has dividends in its adjusted closes and in a file, NONE pays nothing, UNSAID has no adjusted closes."""
    made = make_project(tmp_path / "project", {"configs/mine/red.yaml": CONFIG})
    made.params.write_text(f"{made.params.read_text()}\nsource: {{kind: csv, actions: {{kind: csv}}}}\n")
    incoming = made.root / "data" / "incoming"
    (incoming / "actions").mkdir(parents=True, exist_ok=True)
    csv(incoming, "PAYS", paying_prices({"2024-02-08": 0.5, "2024-05-09": 0.75}))
    csv(incoming, "NONE", paying_prices({}))
    csv(incoming, "UNSAID", paying_prices({}).drop(columns="adj_close"))
    (incoming / "actions" / "PAYS.csv").write_text(ACTIONS)
    return made


def mlops(project: Project, *words: str):
    return CliRunner().invoke(app, [*words, "--project", str(project.root)])


def write_actions(project: Project, text: str, name: str = "PAYS") -> None:
    (project.root / "data" / "incoming" / "actions" / f"{name}.csv").write_text(text)


def test_ingest_says_once_of_which_tickers_no_dividends_are_known(project: Project) -> None:
    result = mlops(project, "ingest")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("no dividends are known for UNSAID: base none") == 1
    names = {path.name for path in project.prices("main").glob("*.dividends.csv")}
    assert names == {"PAYS.dividends.csv", "NONE.dividends.csv"}


def test_prices_of_an_earlier_version_are_to_be_fetched_again(project: Project) -> None:
    """It did not look for dividends, and a pipeline whose inputs did not change does not look now."""
    mlops(project, "ingest")
    for path in project.prices("main").glob("*.dividends.csv"):
        path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("mlops_cli.cli.pipeline.prices.say", lambda *lines: told.extend(lines))
        tell_repairs(project, list(load_branches(project, load_params(project)).values()), None, verbose=False)
    note = "note: nobody has looked for the dividends of NONE, PAYS yet; run: mlops ingest, then mlops run"
    assert [line for line in told if "looked" in line] == [note]


def test_a_dispute_is_a_warning_and_in_the_table_and_in_json(project: Project) -> None:
    write_actions(project, ACTIONS.replace("2024-02-08,0.5", "2024-02-08,0.9"))
    words = "2024-02-08 0.9 (PAYS.csv:2), adjusted closes 0.5"
    result = mlops(project, "ingest", "-v")
    assert result.exit_code == 0
    assert f"warning: PAYS: dividend_disputed: {words}; docs/data-sources.md says what to do" in result.stderr
    assert "0.9" not in mlops(project, "actions", "list").stdout, "which is why the warning does not send there"
    assert words in result.stdout
    (report,) = json.loads(mlops(project, "ingest", "--json").stdout)
    (pays,) = [ticker for ticker in report["repairs"] if ticker["ticker"] == "PAYS"]
    assert pays["rules"] == [{"rule": "dividend_disputed", "count": 1, "examples": [words]}]
    assert pays["touched"] == 0  # no price was repaired
    (check,) = [check for check in examine(project.root) if check.name == "dividends main"]
    assert (check.status, words in check.found) == ("warning", True)


def test_many_faults_are_bounded(project: Project) -> None:
    tickers = [f"T{number}" for number in range(12)]
    config = f"team: red\ntickers: [{', '.join(tickers)}]\ntrainer: naive\n"
    (project.root / "configs" / "mine" / "red.yaml").write_text(config)
    for ticker in tickers:
        csv(project.root / "data" / "incoming", ticker, paying_prices({}))
        write_actions(project, "ex_date,amount\n2024-02-08,0.5\n", ticker)
    warnings = [line for line in mlops(project, "ingest").stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 11
    assert warnings[-1] == "warning: 2 more faults of dividends; see: mlops ingest -v"


def test_a_source_that_is_down_is_told_once_for_all_tickers(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeCorporateActions() as gone:
        monkeypatch.setenv("ALPACA_DATA_URL", gone.url)
    monkeypatch.setenv("ALPACA_API_KEY", KEY)
    monkeypatch.setenv("ALPACA_SECRET_KEY", "secret")
    result = mlops(project, "ingest", "--set", "source.actions.kind=alpaca")
    assert result.exit_code == 0, result.output
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "dividends_not_fetched: Alpaca's corporate actions are not available" in warnings[0]
    assert all(ticker in warnings[0] for ticker in ("PAYS", "NONE", "UNSAID"))
    assert "secret" not in result.output


def test_doctor_counts_the_tickers_with_known_dividends(project: Project) -> None:
    mlops(project, "ingest")
    (check,) = [check for check in examine(project.root) if check.name == "dividends main"]
    assert (check.status, check.found) == ("ok", "known for 2 of 3 tickers")


def test_an_announcement_in_the_future_refuses_the_ticker(project: Project) -> None:
    tomorrow = TODAY + timedelta(days=2)
    write_actions(project, f"ex_date,amount,announced\n{COMING},0.8,{tomorrow}\n")
    result = mlops(project, "ingest")
    assert result.exit_code == 9
    assert f"PAYS.csv:2: announced on {tomorrow}, which is after today" in result.stderr
    assert not (project.prices("main") / "PAYS.parquet").exists()


def test_files_of_unknown_tickers_are_noted(project: Project) -> None:
    write_actions(project, ACTIONS, "PAYZ")
    result = mlops(project, "ingest")
    assert "dividends of tickers that no model of this branch has: PAYZ.csv; left out" in result.stderr


def test_without_the_folder_ingest_ends_with_a_config_error(project: Project) -> None:
    (project.root / "data" / "incoming" / "actions" / "PAYS.csv").unlink()
    (project.root / "data" / "incoming" / "actions").rmdir()
    result = mlops(project, "ingest")
    assert result.exit_code == 3
    assert "source.actions.folder" in result.stderr


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_list_prints_amount_share_source_and_since_when_each_was_known(project: Project) -> None:
    mlops(project, "ingest")
    result = mlops(project, "actions", "list")
    assert result.exit_code == 0
    table = rows(result.stdout)
    assert ["PAYS", "2024-02-08", "0.5", "0.50%", "csv", "taken", "as", "announced"] in table
    assert ["PAYS", "2024-05-09", "0.75", "0.75%", "csv", "2024-04-20"] in table
    assert ["PAYS", str(COMING), "0.8", "0.80%", "csv", str(TODAY)] in table
    assert "dividends, branch main: 3" in result.stdout
    assert "note: no dividends are known for UNSAID" in result.stderr


def test_upcoming_lists_ex_dates_after_the_last_price(project: Project) -> None:
    mlops(project, "ingest")
    result = mlops(project, "actions", "list", "--upcoming")
    assert str(COMING) in result.stdout
    assert "2024-05-09" not in result.stdout
    (branch,) = json.loads(mlops(project, "actions", "list", "--upcoming", "--json").stdout)
    (coming,) = branch["dividends"]
    assert (branch["branch"], branch["unknown"]) == ("main", ["UNSAID"])
    assert (coming["ticker"], coming["ex_date"], coming["amount"]) == ("PAYS", str(COMING), 0.8)
    assert (coming["coming"], coming["known_since"], coming["taken_as_announced"]) == (True, str(TODAY), False)


def test_list_of_a_ticker(project: Project) -> None:
    mlops(project, "ingest")
    assert "dividends, branch main: none" in mlops(project, "actions", "list", "none").stdout
    unknown = mlops(project, "actions", "list", "PAYZ")
    assert unknown.exit_code == 4
    assert "PAYZ: no model has this ticker" in unknown.stderr


def test_list_before_any_ingest_is_empty(project: Project) -> None:
    result = mlops(project, "actions", "list")
    assert (result.exit_code, result.stdout.strip()) == (0, "dividends, branch main: none")


def test_list_before_any_ingest_says_what_to_do(project: Project) -> None:
    result = mlops(project, "actions", "list", "PAYS", "NONE")
    assert result.stderr == "note: no prices are stored for PAYS, NONE; run: mlops ingest\n"
    assert mlops(project, "ingest").exit_code == 0
    assert "no prices" not in mlops(project, "actions", "list").stderr


def test_a_withdrawn_dividend_is_marked(project: Project) -> None:
    mlops(project, "ingest")
    write_actions(project, ACTIONS.replace(f"{COMING},0.8,\n", ""))
    mlops(project, "ingest")
    assert ["PAYS", str(COMING), "0", "0.00%", "csv", str(TODAY), "withdrawn"] in rows(
        mlops(project, "actions", "list").stdout
    )


def test_prices_show_tells_the_last_and_the_coming_dividends(project: Project) -> None:
    mlops(project, "ingest")
    shown = mlops(project, "prices", "show", "PAYS").stdout
    assert "2 dividends in these sessions, 1 coming" in shown
    assert ["2024-05-09", "0.75", "0.75%", "csv", "2024-04-20"] in rows(shown)
    assert "0 dividends in these sessions, none coming" in mlops(project, "prices", "show", "NONE").stdout
    assert "no dividends are known" in mlops(project, "prices", "show", "UNSAID").stdout


def test_prices_show_gives_all_of_them_as_json(project: Project) -> None:
    mlops(project, "ingest")
    (pays,) = json.loads(mlops(project, "prices", "show", "PAYS", "--json").stdout)
    (unsaid,) = json.loads(mlops(project, "prices", "show", "UNSAID", "--json").stdout)
    assert [dividend["amount"] for dividend in pays["dividends"]] == [0.5, 0.75, 0.8]
    assert unsaid["dividends"] is None
