"""A stock that pays dividends, served: simulate's forecasts for its ex-dates, and what a caller hears of dividends."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from mlops_cli.models.predict import Model
from mlops_cli.pipeline.stages.featurize import featurize
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings, write_sightings
from tests.fakes.live_servers import Live, live, trained_project
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import Silent, SmallProject

SHARE = 0.01  # of the close before, that each dividend is
COMING = 0.5
OUTPUTS = ("log_return", "raw_log_return", "interval")


def paying(sessions: int = 700) -> pd.DataFrame:
    """Prices that imply a dividend every 63 sessions; no ex-date is a split."""
    table = random_prices(sessions, 0)
    factors = np.ones(sessions)
    for place in range(40, sessions, 63):
        factors[:place] *= 1 - SHARE
    return table.assign(adj_close=table["close"] * factors)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """A project whose newest session is the eve of an ex-date."""
    made = trained_project(tmp_path_factory.mktemp("paying") / "p", {"AAA": paying()})
    file = dividends_file(made.project.prices("main"), "AAA")
    seen = read_sightings(file)
    assert seen
    last = features(made).iloc[-1]
    eve, ex_date = last.name.date(), last["target_session"].date()
    coming = replace(seen[-1], ex_date=ex_date, amount=COMING, close_session=eve, close=float(last["last_close"]))
    write_sightings(file, [*seen, replace(coming, seen=eve, taken=False)])
    assert not featurize(made.project, made.branch, Silent()).failures
    return made


@pytest.fixture(scope="module")
def server(made: SmallProject) -> Iterator[Live]:
    with live(made.root) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[httpx.Client]:
    with server.http() as opened:
        yield opened


@pytest.fixture(scope="module")
def protocol(server: Live) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.host) as opened:
        yield opened


@pytest.fixture(scope="module")
def simulated(made: SmallProject) -> pd.DataFrame:
    """What simulate wrote of the model, by session."""
    table = pd.read_parquet(made.project.report("mine") / "forecasts.parquet")
    return table[table["model"] == "red-aaa"].set_index("session")


def features(made: SmallProject) -> pd.DataFrame:
    return pd.read_parquet(made.project.features("main") / "red-aaa.parquet")


def inputs(made: SmallProject) -> tuple[str, ...]:
    return Model.open(made.project.models("main") / "red-aaa").manifest.inputs


def eve_of(simulated: pd.DataFrame) -> pd.Timestamp:
    (eve,) = simulated.index[simulated["announced_dividend"] > 0]
    return eve


def as_bars(made: SmallProject, until: pd.Timestamp | None = None) -> list[dict[str, Any]]:
    table = pd.read_parquet(made.project.prices("main") / "AAA.parquet").loc[:until].reset_index()
    named = table[["session", "open", "high", "low", "close", "volume"]]
    return json.loads(
        named.assign(session=named["session"].dt.strftime("%F")).to_json(orient="records", double_precision=15)
    )


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_simulates_forecasts_and_intervals_also_on_the_eve_of_an_ex_date(
    made: SmallProject, protocol: triton.InferenceServerClient, simulated: pd.DataFrame, binary: bool
) -> None:
    table = features(made).loc[simulated.index]
    rows = table[list(inputs(made))].to_numpy(np.float32)
    tensor = triton.InferInput("features", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS]
    answer = protocol.infer("red-aaa", [tensor], outputs=outputs)
    last = simulated["last_close"].to_numpy()
    closes = last * np.exp(answer.as_numpy("log_return").astype(float))
    np.testing.assert_allclose(closes, simulated["predicted_close"], rtol=1e-6)
    bounds = last[:, None] * np.exp(answer.as_numpy("interval").astype(float))
    written = simulated[["lower_80", "upper_80", "lower_95", "upper_95"]]
    assert written.notna().all(axis=None)
    np.testing.assert_allclose(bounds, written, rtol=1e-6)
    eve = simulated.loc[eve_of(simulated)]
    assert eve["announced_dividend"] == pytest.approx(SHARE * eve["last_close"], rel=1e-6)
    assert eve["predicted_close"] < eve["last_close"] * (1 - SHARE / 2), "the dividend is subtracted"


def test_bars_up_to_that_eve_give_the_same_forecast_and_name_its_dividend(
    made: SmallProject, client: httpx.Client, simulated: pd.DataFrame
) -> None:
    eve = eve_of(simulated)
    expected = simulated.loc[eve]
    answer = client.post("/forecasts", json={"models": ["red-aaa"], "bars": as_bars(made, eve)})
    (forecast,) = answer.json()["forecasts"]
    assert forecast["predicted_close"] == pytest.approx(expected["predicted_close"], rel=1e-6)
    assert forecast["announced_dividend"] == pytest.approx(expected["announced_dividend"])
    assert forecast["ex_date"] == forecast["target_session"] == f"{expected['target_session']:%F}"
    assert forecast["dividend_source"] == "project"
    total = np.log((expected["predicted_close"] + expected["announced_dividend"]) / expected["last_close"])
    assert forecast["expected_total_return"] == pytest.approx(total, abs=1e-6)
    for level in (80, 95):
        bounds = expected[f"lower_{level}"], expected[f"upper_{level}"]
        assert forecast["intervals"][str(level)] == pytest.approx(bounds, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "amount", "source"), [({}, COMING, "project"), ({"announced_dividend": 0.25}, 0.25, "request"),
                                    ({"announced_dividend": 0}, 0.0, "request")]
)  # fmt: skip
def test_the_dividend_of_the_request_replaces_that_of_the_project(
    made: SmallProject, client: httpx.Client, given: dict[str, float], amount: float, source: str
) -> None:
    answer = client.post("/forecasts", json={"ticker": "AAA", "bars": as_bars(made), **given}).json()
    forecasts = {forecast["model"]: forecast for forecast in answer["forecasts"]}
    ours = forecasts["red-aaa"]
    assert ours["announced_dividend"] == pytest.approx(amount)
    assert ours["dividend_source"] == source
    assert (ours["ex_date"] is None) == (amount == 0)
    naive = forecasts["dull-aaa"]
    assert naive["announced_dividend"] == 0
    assert naive["dividend_source"] == ("not subtracted" if given.get("announced_dividend") else None)
    csv = pd.DataFrame(as_bars(made)).rename(columns={"session": "date"}).to_csv(index=False)
    lines = client.post("/transform/red-aaa", content=csv, params=given)
    assert lines.status_code == 200, lines.text
    newest = pd.read_csv(io.StringIO(lines.text)).iloc[-1]
    assert newest["announced_dividend"] == pytest.approx(amount)
    assert newest["predicted_close"] == pytest.approx(ours["predicted_close"], rel=1e-6)
    assert [newest["lower_80"], newest["upper_80"]] == pytest.approx(ours["intervals"]["80"], rel=1e-6)


def test_a_dividend_in_the_bars_is_that_of_its_session(
    made: SmallProject, client: httpx.Client, simulated: pd.DataFrame
) -> None:
    bars = as_bars(made, simulated.loc[eve_of(simulated), "target_session"])
    bars[-1]["dividend"] = 2 * SHARE * bars[-2]["close"]
    csv = pd.DataFrame(bars).rename(columns={"session": "Date", "dividend": "Dividends"}).to_csv(index=False)
    lines = pd.read_csv(io.StringIO(client.post("/transform/red-aaa", content=csv).text))
    before = lines[lines["announced_dividend"] > 0]
    assert before["target_session"].tolist() == [bars[-1]["session"]], "the column replaces what the project knows"
    assert before["announced_dividend"].tolist() == pytest.approx([bars[-1]["dividend"]])
    assert client.post("/forecasts", json={"ticker": "AAA", "bars": bars}).status_code == 200


def test_the_latest_forecast_names_the_coming_dividend_and_its_intervals(
    made: SmallProject, client: httpx.Client
) -> None:
    forecasts = {one["model"]: one for one in client.get("/forecasts/AAA").json()["forecasts"]}
    ours, naive = forecasts["red-aaa"], forecasts["dull-aaa"]
    assert ours["announced_dividend"] == pytest.approx(COMING)
    assert ours["ex_date"] == ours["target_session"]
    assert ours["dividend_source"] == "project"
    total = np.log((ours["predicted_close"] + COMING) / ours["last_close"])
    assert ours["expected_total_return"] == pytest.approx(total)
    (narrow, wide) = (ours["intervals"][level] for level in ("80", "95"))
    assert wide[0] < narrow[0] < ours["predicted_close"] < narrow[1] < wide[1]
    assert (naive["announced_dividend"], naive["ex_date"], naive["dividend_source"]) == (0, None, None)
    assert naive["expected_total_return"] == pytest.approx(naive["log_return"], abs=1e-7)
    assert client.get("/forecasts/BBB").json()["forecasts"][0]["intervals"].keys() == {"80", "95"}


def test_clients_from_before_intervals_are_answered_as_ever(made: SmallProject, client: httpx.Client) -> None:
    needed = inputs(made)[:-2]
    table = features(made).tail(3)
    expected = Model.open(made.project.models("main") / "red-aaa").log_returns(table)[0]
    rows = table[list(needed)].to_numpy(np.float32)
    one = {"name": "features", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    columns = [
        {"name": name, "datatype": "FP32", "shape": [3], "data": rows[:, at].tolist()} for at, name in enumerate(needed)
    ]
    for tensors in ([one], columns):
        answer = client.post("/v2/models/red-aaa/infer", json={"inputs": tensors}).json()
        assert [output["name"] for output in answer["outputs"]] == ["log_return", "raw_log_return"]
        np.testing.assert_allclose(answer["outputs"][0]["data"], expected, atol=1e-7)
    csv = table[list(needed)].to_csv()
    lines = pd.read_csv(io.StringIO(client.post("/transform/red-aaa", content=csv).text))
    np.testing.assert_allclose(lines["log_return"], expected, atol=1e-7)
    assert list(lines.columns) == ["session", "log_return", "raw_log_return", "version", "rung"]


def test_what_is_missing_is_named(made: SmallProject, protocol: triton.InferenceServerClient) -> None:
    columns = inputs(made)

    def infer(count: int, *outputs: str) -> None:
        tensor = triton.InferInput("features", [1, count], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, count), np.float32))
        protocol.infer("red-aaa", [tensor], outputs=[triton.InferRequestedOutput(name) for name in outputs])

    with pytest.raises(InferenceServerException, match=r"lack the column announced_dividend.*actions list --upcoming"):
        infer(len(columns) - 3)
    with pytest.raises(InferenceServerException, match="needs the columns width_80, width_95"):
        infer(len(columns) - 2, "interval")
    with pytest.raises(InferenceServerException, match="known: log_return, raw_log_return, interval"):
        infer(len(columns), "close")


def test_an_upload_without_the_dividend_and_strange_dividends_are_refused(
    made: SmallProject, client: httpx.Client
) -> None:
    table = features(made).tail(3)
    without = table[list(inputs(made))].drop(columns="announced_dividend").to_csv()
    refused = client.post("/transform/red-aaa", content=without)
    assert refused.status_code == 400
    assert "lacks the column announced_dividend" in refused.json()["error"]
    whole = table[list(inputs(made))].to_csv()
    refused = client.post("/transform/red-aaa", content=whole, params={"announced_dividend": 0.5})
    assert "announced_dividend belongs to bars" in refused.json()["error"]
    for amount in (-1, 1e6):
        given = {"models": ["red-aaa"], "bars": as_bars(made), "announced_dividend": amount}
        refused = client.post("/forecasts", json=given)
        assert refused.status_code == 400
        assert "announced_dividend" in refused.json()["error"]


def test_few_bars_have_no_interval_and_say_so(made: SmallProject, client: httpx.Client) -> None:
    answer = client.post("/forecasts", json={"models": ["red-aaa"], "bars": as_bars(made)[-30:]}).json()
    intervals = answer["forecasts"][0]["intervals"]
    assert intervals["95"] is None
    assert len(intervals["80"]) == 2
