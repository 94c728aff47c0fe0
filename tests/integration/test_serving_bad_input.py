"""`mlops serve` and what it must not swallow: bad bodies, huge ones, names that lead elsewhere: refused in words."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.bench.serve_client import post
from tests.fakes.served_projects import BRANCH, Served, infer_body, served_project, serving

NAMES = tuple(f"red-t{index:03d}" for index in range(5))
SECRET = "nobody may read this"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    root = served_project(folder / "p", NAMES)
    elsewhere = served_project(folder / "other", ["red-secret"])
    (folder / "secret.txt").write_text(SECRET)
    (root / "models" / "secret.txt").write_text(SECRET)
    os.symlink(elsewhere / "models" / BRANCH / "red-secret", root / "red-linked")
    with serving(root) as running:
        yield running


BAD_BODIES = {
    "NaN": (b'{"inputs":[{"name":"features","shape":[1,20],"datatype":"FP32","data":[NaN' + b",0" * 19 + b"]}]}", 400),
    "null": (infer_body(data=[None] * 20), 400),
    "too large for float32": (infer_body(data=[1e39] + [0.0] * 19), 400),
    "too few columns": (infer_body(shape=[1, 19], data=[0.0] * 19), 400),
    "data of another shape": (infer_body(data=[0.0] * 7), 400),
    "no rows": (infer_body(shape=[0, 20], data=[]), 400),
    "a negative shape": (infer_body(shape=[-1, 20]), 400),
    "a huge shape": (infer_body(shape=[10**12, 20]), 400),
    "three dimensions": (infer_body(shape=[1, 20, 1]), 400),
    "text": (infer_body(datatype="BYTES", data=["x"] * 20), 400),
    "text as numbers": (infer_body(data=["x"] * 20), 400),
    "no such type": (infer_body(datatype="FP17"), 400),
    "no such input": (infer_body(name="prices"), 400),
    "nested lists of another shape": (infer_body(data=[[0.0] * 19, [0.0] * 2]), 400),
    "no input": (b'{"inputs":[]}', 400),
    "a list": (b"[]", 400),
    "a number": (b"7", 400),
    "nothing": (b"", 400),
    "no JSON": (b"{", 400),
    "no UTF-8": (b"\xff\xfe{}", 400),
    "deep nesting": (b'{"inputs":' + b"[" * 100_000, 400),
    "50 MB": (b" " * 50_000_000, 413),
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_bad_bodies_are_refused_with_what_was_expected(served: Served, what: str) -> None:
    body, status = BAD_BODIES[what]
    if status == 413:
        answer = _post_over_a_socket(served, len(body))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"max_body_mb" in answer
        return
    answer = served.ask(f"/v2/models/{NAMES[0]}/infer", body, content_type="application/json")
    assert answer.status == status, answer.body
    found = answer.json()
    assert found["error"]
    assert len(answer.body) < 2000


def _post_over_a_socket(served: Served, length: int) -> bytes:
    """The answer to a body that is announced; a client that sends all of it first may not come to read it."""
    parts = urlsplit(served.address)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(post(f"/v2/models/{NAMES[0]}/infer", length))
        answer = b""
        while b"}" not in answer:
            part = connection.recv(65536)
            if not part:
                break
            answer += part
        return answer


def test_a_body_of_50_mb_without_a_length_is_cut_off(served: Served) -> None:
    parts = urlsplit(served.address)
    head = f"POST /v2/models/{NAMES[0]}/infer HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    before = served.memory
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(head)
        sent = 0
        try:
            while sent < 50_000_000:
                connection.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
                sent += 0x100000
            answer = connection.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            answer = b"HTTP/1.1 413 "  # it hung up: it had answered before all was sent
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert served.memory - before < 40e6
    assert served.infer(NAMES[0]).status == 200


TRICKS = (
    "..%2F..%2F..%2Fother%2Fmodels%2Fmain%2Fred-secret",
    "../../../other/models/main/red-secret",
    "..%2Fsecret.txt",
    "%2e%2e%2f%2e%2e%2fsecret.txt",
    "main%2F..%2F..%2Fred-linked",
    "red-linked",
    "..%5C..%5Csecret.txt",
    "%2Fetc%2Fpasswd",
    "red-t000%00",
    "red-t000%2F..",
    ".staging",
    ".versions%2Fmain",
    "%F0%9F%90%8D",
    "%FF",
    "a" * 5000,
    "*",
    "no-such-model",
)


@pytest.mark.parametrize("name", TRICKS, ids=lambda name: name[:40])
def test_names_that_are_no_model_are_not_found_and_nothing_is_read(served: Served, name: str) -> None:
    infer = served.infer(name)
    asked = [served.ask(f"/v2/models/{name}{end}") for end in ("", "/ready", "/versions/1", "/versions/..%2F..%2Fx")]
    loaded = served.ask(f"/v2/repository/models/{name}/load", b"{}")
    latest = served.ask(f"/forecasts/{name}")
    for answer in (infer, *asked, loaded, latest):
        assert 400 <= answer.status < 500, (answer.status, answer.body)
        assert SECRET.encode() not in answer.body
        assert b"Traceback" not in answer.body
    assert infer.status == 404


@pytest.mark.parametrize("version", ["000000000000", "..", "..%2F..%2Fred-t001", "%00"])
def test_versions_that_are_not_there_are_not_found(served: Served, version: str) -> None:
    assert served.ask(f"/v2/models/{NAMES[0]}/versions/{version}/infer", infer_body()).status == 404


def test_after_all_that_everything_still_answers(served: Served) -> None:
    assert served.ask("/v2/health/ready").status == 200
    assert {served.infer(name).status for name in NAMES} == {200}
    statuses = {line for line in served.metrics() if line.startswith("mlops_http_responses_total")}
    assert not [line for line in statuses if '"5' in line], statuses
