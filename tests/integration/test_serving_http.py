"""The real server over HTTP, asked by clients that nobody here wrote: tritonclient and httpx."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterator

import httpx
import numpy as np
import pandas as pd
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from mlops_cli.errors import DataError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.predict import Model
from mlops_cli.serving.contract.messages import BadInputError
from mlops_cli.serving.uploads.batches import batch_of_upload
from mlops_cli.serving.uploads.posted_rows import FeatureFacts
from tests.fakes.live_servers import Live, live, trained_project
from tests.fakes.projects import SmallProject

INPUTS = ("return_1", "return_2", "return_5", "range_high_low", "range_open_close", "close_position", "volatility_5",
    "announced_dividend", "width_80", "width_95")  # fmt: skip
MODELS = ["dull-aaa", "dull-bbb", "dull-ccc", "red-aaa", "red-bbb", "red-ccc"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    return trained_project(tmp_path_factory.mktemp("served") / "p")


@pytest.fixture(scope="module")
def server(made: SmallProject) -> Iterator[Live]:
    with live(made.root) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[httpx.Client]:
    with server.http() as found:
        yield found


@pytest.fixture(scope="module")
def protocol(server: Live) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.host) as found:
        yield found


def features(made: SmallProject, model: str) -> pd.DataFrame:
    return pd.read_parquet(made.project.features("main") / f"{model}.parquet")


def opened(made: SmallProject, model: str) -> Model:
    return Model.open(made.project.models("main") / model)


def rows_of(made: SmallProject, model: str, table: pd.DataFrame) -> np.ndarray:
    return table[list(opened(made, model).manifest.inputs)].to_numpy(np.float32)


def ask(client: httpx.Client, model: str, rows: np.ndarray, **headers: str) -> httpx.Response:
    tensor = {"name": "features", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    return client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]}, headers=headers)


def test_tritonclient_reads_health_metadata_and_index(protocol: triton.InferenceServerClient) -> None:
    assert protocol.is_server_live()
    assert protocol.is_server_ready()
    assert protocol.is_model_ready("red-aaa")
    assert not protocol.is_model_ready("red-zzz")
    assert "binary_tensor_data" in protocol.get_server_metadata()["extensions"]
    about = protocol.get_model_metadata("red-aaa")
    assert about["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, len(INPUTS)]}]
    shapes = {output["name"]: output["shape"] for output in about["outputs"]}
    assert shapes == {"log_return": [-1], "raw_log_return": [-1], "interval": [-1, 4]}
    assert about["parameters"]["columns"] == list(INPUTS)
    assert about["parameters"]["levels"] == [80, 95]
    assert about["parameters"]["interval_columns"] == ["width_80", "width_95"]
    assert protocol.get_model_metadata("red-aaa", about["versions"][0])["name"] == "red-aaa"
    assert protocol.is_model_ready("red-aaa", about["versions"][0])
    assert sorted(entry["name"] for entry in protocol.get_model_repository_index()) == MODELS


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_infers_what_simulate_wrote(
    made: SmallProject, protocol: triton.InferenceServerClient, binary: bool, compression: str | None
) -> None:
    written = pd.read_parquet(made.project.report("mine") / "forecasts.parquet")
    written = written[written["model"] == "red-aaa"].set_index("session")
    table = features(made, "red-aaa").loc[written.index]
    tensor = triton.InferInput("features", [len(table), len(INPUTS)], "FP32")
    tensor.set_data_from_numpy(rows_of(made, "red-aaa", table), binary_data=binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("raw_log_return", "log_return")]
    answer = protocol.infer(
        "red-aaa", [tensor], outputs=outputs, request_id="7", request_compression_algorithm=compression
    )
    closes = table["last_close"].to_numpy() * np.exp(answer.as_numpy("log_return").astype(float))
    np.testing.assert_allclose(closes, written["predicted_close"], rtol=1e-6)
    drift = opened(made, "red-aaa").manifest.base_drift
    shrunk = drift + 0.5 * (answer.as_numpy("raw_log_return") - drift)
    np.testing.assert_allclose(shrunk, answer.as_numpy("log_return"), atol=1e-8)
    assert answer.get_response()["id"] == "7"
    assert answer.get_response()["parameters"]["rung"] == "full"


def test_tritonclient_gives_columns_one_by_one(made: SmallProject, protocol: triton.InferenceServerClient) -> None:
    table = features(made, "red-aaa").tail(3)
    tensors = []
    for name in reversed(opened(made, "red-aaa").manifest.inputs):
        tensors.append(triton.InferInput(name, [3], "FP32"))
        tensors[-1].set_data_from_numpy(table[name].to_numpy(np.float32))
    expected, _ = opened(made, "red-aaa").log_returns(table)
    np.testing.assert_allclose(protocol.infer("red-aaa", tensors).as_numpy("log_return"), expected, atol=1e-8)


def test_tritonclient_hears_what_was_wrong(protocol: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("features", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))
    with pytest.raises(InferenceServerException, match="rows of 10 columns"):
        protocol.infer("red-aaa", [tensor])
    with pytest.raises(InferenceServerException, match="red-zzz"):
        protocol.infer("red-zzz", [tensor])


def test_tritonclient_unloads_and_loads(protocol: triton.InferenceServerClient, client: httpx.Client) -> None:
    protocol.unload_model("dull-ccc")
    assert not protocol.is_model_ready("dull-ccc")
    refused = ask(client, "dull-ccc", np.zeros((1, 1)))
    assert refused.status_code == 503
    assert "retry-after" not in refused.headers
    assert client.get("/health").json()["unloaded"] == ["dull-ccc"]
    protocol.load_model("dull-ccc")
    assert protocol.is_model_ready("dull-ccc")
    assert ask(client, "dull-ccc", np.zeros((1, 1))).status_code == 200


def test_an_answer_says_who_gave_it(made: SmallProject, client: httpx.Client) -> None:
    answer = ask(client, "red-aaa", np.zeros((1, len(INPUTS))))
    version = opened(made, "red-aaa").manifest.version
    found = {name: answer.headers[f"x-mlops-{name}"] for name in ("model", "version", "rung", "age", "verdict")}
    verdicts = {one["model"]: one["verdict"] for one in json.loads(_evaluation(made))}
    assert found == {
        "model": "red-aaa",
        "version": version,
        "rung": "full",
        "age": "0.000",
        "verdict": verdicts["red-aaa"],
    }
    assert answer.json()["model_version"] == version
    assert ask(client, f"red-aaa/versions/{version}", np.zeros((1, len(INPUTS)))).json()["model_version"] == version
    assert ask(client, "red-aaa/versions/000000000000", np.zeros((1, len(INPUTS)))).status_code == 404


def _evaluation(made: SmallProject) -> str:
    return (made.project.evaluation("main") / "models.json").read_text()


def test_latest_forecasts_of_all_and_of_one_ticker(made: SmallProject, client: httpx.Client) -> None:
    answer = client.get("/forecasts")
    assert answer.status_code == 200
    assert answer.headers["x-mlops-rung"] == "full"
    found = {one["model"]: one for one in answer.json()["forecasts"]}
    assert sorted(found) == MODELS
    for name, one in found.items():
        last = features(made, name).tail(1)
        expected = opened(made, name).log_returns(last)[0][0]
        assert one["session"] == f"{last.index[0]:%F}"
        assert one["target_session"] == f"{last['target_session'].iloc[0]:%F}"
        assert one["log_return"] == pytest.approx(expected, abs=1e-8)
        assert one["predicted_close"] == pytest.approx(last["last_close"].iloc[0] * np.exp(expected))
        assert {"version", "rung", "age", "verdict"} <= one.keys()
    for ticker in ("AAA", "aaa"):
        some = client.get(f"/forecasts/{ticker}").json()["forecasts"]
        assert [one["model"] for one in some] == ["dull-aaa", "red-aaa"]
    assert client.get("/forecasts/ZZZ").status_code == 404


def bars(made: SmallProject, ticker: str = "AAA") -> pd.DataFrame:
    return pd.read_parquet(made.project.prices("main") / f"{ticker}.parquet")


def bars_json(table: pd.DataFrame) -> list[dict[str, object]]:
    named = table.reset_index()[["session", "open", "high", "low", "close", "volume"]]
    return json.loads(
        named.assign(session=named["session"].dt.strftime("%F")).to_json(orient="records", double_precision=15)
    )


def test_forecasts_from_bars_are_those_from_features(made: SmallProject, client: httpx.Client) -> None:
    expected = {one["model"]: one for one in client.get("/forecasts/AAA").json()["forecasts"]}
    answer = client.post("/forecasts", json={"ticker": "AAA", "bars": bars_json(bars(made))})
    assert answer.status_code == 200, answer.text
    found = {one["model"]: one for one in answer.json()["forecasts"]}
    assert found.keys() == expected.keys()
    for name, one in found.items():
        assert one.pop("log_return") == pytest.approx(expected[name]["log_return"], abs=1e-7)
        assert one.pop("predicted_close") == pytest.approx(expected[name]["predicted_close"], rel=1e-7)
        assert {**expected[name], **one, "age": 0.0} == {**expected[name], "age": 0.0}
    one = client.post("/forecasts", json={"models": ["red-aaa"], "bars": bars_json(bars(made).tail(60))}).json()
    assert one["forecasts"][0]["log_return"] == pytest.approx(expected["red-aaa"]["log_return"], abs=1e-7)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda body: body.pop("bars"), "bars"),
        (lambda body: body.pop("ticker"), "neither ticker nor models"),
        (lambda body: body.update(bars=body["bars"][:1]), "needs? at least"),
        (lambda body: body.update(bars=body["bars"][::-1]), "must ascend"),
        (lambda body: body["bars"][0].update(close=-1), "greater than 0"),
        (lambda body: body["bars"][0].update(open=float("nan")), "finite|JSON"),
        (lambda body: body["bars"][0].update(session="2014-01-01"), "not sessions of XNYS: 2014-01-01"),
        (lambda body: body["bars"][0].update(session="0001-01-01"), "1960"),
        (lambda body: body.update(models=["../x"]), "no model"),
        (lambda body: body["bars"][3].update(symbol="IBM"), "rows of IBM"),
        (lambda body: body["bars"][-1].update(ticker="IBM"), "rows of IBM"),
        (lambda body: body.update(ticker="IBM", models=["red-aaa"]), "rows of IBM"),
    ],
)
def test_wrong_bars_hear_what_was_expected(made: SmallProject, client: httpx.Client, change, expected: str) -> None:
    body = {"ticker": "AAA", "bars": bars_json(bars(made).tail(60))}
    change(body)
    answer = client.post("/forecasts", content=json.dumps(body))
    assert answer.status_code in (400, 404)
    assert re.search(expected, answer.json()["error"])


def test_transform_of_bars_and_of_features(made: SmallProject, client: httpx.Client) -> None:
    table = features(made, "red-aaa")
    expected = opened(made, "red-aaa").log_returns(table)[0]
    source = bars(made)
    csv = source.set_axis(["Open", "High", "Low", "Close", "Adj Close", "Volume"], axis=1).rename_axis("Date").to_csv()
    answer = client.post("/transform/red-aaa", content=csv)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-mlops-model"] == "red-aaa"
    assert answer.headers["transfer-encoding"] == "chunked"
    found = pd.read_csv(io.StringIO(answer.text), parse_dates=["session"])
    assert list(found["session"]) == list(table.index)
    np.testing.assert_allclose(found["log_return"], expected, atol=1e-7)
    np.testing.assert_allclose(found["predicted_close"], table["last_close"] * np.exp(expected), rtol=1e-7)
    uploads = {"parquet": _parquet(table), "csv": table.reset_index().to_csv(index=False).encode()}
    for body in (*uploads.values(), gzip.compress(uploads["csv"])):
        headers = {"accept": "application/x-ndjson", **({"content-encoding": "gzip"} if body[:1] == b"\x1f" else {})}
        answer = client.post("/transform/red-aaa", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [line["session"] for line in lines] == [f"{day:%F}" for day in table.index]
        np.testing.assert_allclose([line["log_return"] for line in lines], expected, atol=1e-8)
        assert {line["rung"] for line in lines} == {"full"}
        assert float(answer.headers["x-mlops-age"]) == 0


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "empty"),
        (b"PAR1 but not", "parquet"),
        (b"\x00\x01\x02", "the upload"),
        (b"a,b\n1,2\n", "the upload"),
        (b"Date,Open,High,Low,Close,Volume\n2020-01-02,1,1,1,x,1\n", "2020-01-02 close"),
        (b"<html></html>", "the upload"),
        (b"symbol,{}\nIBM,{}\n", "rows of IBM"),
    ],
)
def test_wrong_uploads_hear_what_was_expected(
    made: SmallProject, client: httpx.Client, body: bytes, expected: str
) -> None:
    inputs = read_manifest(made.project.models("main") / "red-aaa").inputs
    values = (b",".join([name.encode() for name in inputs]), b",".join([b"0.5"] * len(inputs)))
    body = body.replace(b"{}", values[0], 1).replace(b"{}", values[1])
    answer = client.post("/transform/red-aaa", content=body)
    assert answer.status_code == 400
    assert expected in answer.json()["error"]
    assert "/tmp" not in answer.text


@pytest.mark.parametrize("text", ["a" * 500_000, "b" * 10])
def test_a_parquet_file_that_would_grow_out_of_bounds_is_not_read(made: SmallProject, text: str) -> None:
    manifest = read_manifest(made.project.models("main") / "red-aaa")
    facts = FeatureFacts(manifest.features, manifest.target, manifest.exchange, "AAA", manifest.inputs)
    upload = _parquet(pd.DataFrame({"text": [text]}))
    with pytest.raises((BadInputError, DataError), match="the upload"):
        batch_of_upload(upload, facts, 10_000)


@pytest.mark.parametrize(
    "name",
    ["red-zzz", "..", "../dull-aaa", "..%2F..%2Fparams.yaml", "%2Fetc%2Fpasswd", "main/../main/red-aaa", "RED-AAA",
     "red-aaa%00", "a" * 300, ".versions", "main/main/red-aaa", "~", "-", "red-aaa%2f.."],
)  # fmt: skip
def test_what_is_no_models_name_is_not_found(client: httpx.Client, name: str) -> None:
    # httpx would tidy the dots away before sending
    host, port = client.base_url.host, client.base_url.port
    for method, path in [
        ("POST", f"/v2/models/{name}/infer"),
        ("GET", f"/v2/models/{name}"),
        ("GET", f"/v2/models/{name}/ready"),
        ("POST", f"/v2/repository/models/{name}/load"),
        ("POST", f"/v2/repository/models/{name}/unload"),
        ("POST", f"/transform/{name}"),
    ]:
        status, body = _raw(host, port, method, path)
        assert status == 404, (method, path, body)
        assert "error" in json.loads(body)


def _raw(host: str, port: int, method: str, path: str) -> tuple[int, bytes]:
    import http.client

    connection = http.client.HTTPConnection(host, port, timeout=30)
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 1], "data": [0]}
    connection.request(method, path, json.dumps({"inputs": [tensor]}) if method == "POST" else None)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_a_body_beyond_the_limit_is_refused(client: httpx.Client) -> None:
    for path in ("/v2/models/red-aaa/infer", "/transform/red-aaa", "/forecasts"):
        for content in (b"x" * 50_000_000, (b"x" * 1_000_000 for _ in range(50))):
            try:
                answer = client.post(path, content=content)
            except httpx.WriteError:
                pytest.fail("the connection was cut before the refusal could be read")
            assert answer.status_code == 413
            assert "10 MB" in answer.json()["error"]
    bomb = gzip.compress(b"0" * 50_000_000)
    refused = client.post("/transform/red-aaa", content=bomb, headers={"content-encoding": "gzip"})
    assert refused.status_code == 413
    assert client.post("/forecasts", content=b"x", headers={"content-encoding": "br"}).status_code == 415
    assert client.post("/forecasts", content=b"x", headers={"content-encoding": "gzip"}).status_code == 400


def test_health_metrics_and_docs(client: httpx.Client) -> None:
    ask(client, "red-aaa", np.zeros((1, len(INPUTS))))
    assert ask(client, "red-aaa", np.zeros((1, 2))).status_code == 400
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["models"] == len(MODELS)
    assert health["quarantined"] == {}
    assert (health["last_pass"], health["fleet"]) == (None, None), "mlops live has not run here"
    text = client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['mlops_answers_total{rung="full"}']) >= 1
    assert float(values['mlops_http_responses_total{status="400"}']) >= 1
    assert float(values["mlops_infer_seconds_count"]) >= 2
    assert float(values['mlops_resident_models{worker="0"}']) >= 1
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v2/models/{name}/infer", "/forecasts", "/transform/{name}", "/metrics"} <= paths.keys()
    assert client.get("/nothing").json()["error"]
    assert client.delete("/forecasts").status_code == 405
