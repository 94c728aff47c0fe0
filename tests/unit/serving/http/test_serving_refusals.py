"""Errors as HTTP answers, and docs/serving.md, which must list every status."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError, DataError, MlopsError, ModelError, ServiceError, TrainingError
from mlops_cli.serving.contract.messages import BadInputError, OverloadedError, UnknownModelError, UnservableError
from mlops_cli.serving.http.jobs.job_endpoints import JOB_ERRORS
from mlops_cli.serving.http.refusals import RefusedError, refusal
from mlops_cli.serving.http.service import ERRORS

REPOSITORY = Path(__file__).resolve().parents[4]
HTTP = REPOSITORY / "mlops_cli" / "serving" / "http"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadInputError("x"), 400),
        (DataError("x"), 400),
        (ConfigError("x"), 400),
        (UnknownModelError("x"), 404),
        (UnservableError("x"), 503),
        (ModelError("x"), 503),
        (OverloadedError("x", 1), 503),
        (TrainingError("x"), 500),
        (ServiceError("x"), 500),
        (MlopsError("x"), 500),
        (RefusedError(418, "x"), 418),
    ],
)
def test_each_kind_of_error_has_its_status(error: MlopsError, status: int) -> None:
    assert refusal(error)[0] == status


def test_the_body_repeats_the_hint_in_the_error_for_clients_that_show_only_this() -> None:
    _, headers, body = refusal(BadInputError("wrong", "send it right"))
    assert json.loads(body) == {"error": "wrong; send it right", "hint": "send it right"}
    assert dict(headers)[b"content-length"] == str(len(body)).encode()


def test_without_a_hint_there_is_no_key_for_it() -> None:
    assert json.loads(refusal(BadInputError("wrong"))[2]) == {"error": "wrong"}


def test_text_of_callers_is_valid_json_without_control_characters() -> None:
    assert json.loads(refusal(BadInputError('a "quote" \n \x00 ü'))[2])["error"] == 'a "quote" \n \\x00 ü'


@pytest.mark.parametrize("seconds", [1, 2, 60])
def test_only_overload_says_when_to_come_back(seconds: int) -> None:
    assert dict(refusal(OverloadedError("full", seconds))[1])[b"retry-after"] == str(seconds).encode()
    assert b"retry-after" not in dict(refusal(UnservableError("unloaded"))[1])


def test_a_missing_token_asks_for_one() -> None:
    assert dict(refusal(RefusedError(401, "no token"))[1])[b"www-authenticate"] == b"Bearer"
    assert b"www-authenticate" not in dict(refusal(RefusedError(403, "no"))[1])


def statuses_of_the_code() -> set[int]:
    """Every status that is raised or mapped in the HTTP layer."""
    texts = [path.read_text() for path in HTTP.glob("*.py")]
    raised = {int(status) for text in texts for status in re.findall(r"RefusedError\(\s*(\d{3})\b", text)}
    mapped = {int(status) for status in re.findall(r"Error: (\d{3}),", (HTTP / "refusals.py").read_text())}
    return raised | mapped | {int(status) for status in ERRORS} | {500}


def test_docs_serving_lists_every_status_and_the_code_knows_every_listed_one() -> None:
    section = (REPOSITORY / "docs" / "serving.md").read_text().partition("## Errors")[2].partition("\n## ")[0]
    listed = {int(status) for status in re.findall(r"^\| (\d{3})\b", section, re.MULTILINE)}
    known = statuses_of_the_code()
    assert known <= listed, f"missing in docs/serving.md: {sorted(known - listed)}"
    assert listed - known <= {405, 431}, "the framework answers 405, the connection 431"
    assert all(HTTPStatus(status) for status in listed)


def test_the_openapi_document_lists_every_status_that_the_http_layer_raises() -> None:
    assert statuses_of_the_code() - {500} == {int(status) for status in (*ERRORS, *JOB_ERRORS)}
