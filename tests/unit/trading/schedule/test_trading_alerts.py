"""Alerts: what is posted and run, and that an alert that fails stops nothing."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mlops_cli.trading.schedule.alerts import Alerts


class Webhook(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.bodies: list[dict] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/secret-path"


class Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self):
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    server = Webhook()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def said() -> list[str]:
    return []


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_a_webhook_gets_all_lines_at_once(webhook, said):
    Alerts(webhook.url, None, said.append).send("red", ["one", "two"])
    assert webhook.bodies == [{"text": "mlops paper-trade, team red:\none\ntwo", "team": "red"}]
    assert said == []


def test_no_lines_are_no_alert(webhook, said):
    Alerts(webhook.url, "no such command", said.append).send("red", [])
    assert (webhook.bodies, said) == ([], [])


def test_without_address_and_command_nothing_happens(said):
    Alerts(None, None, said.append).send("red", ["one"])
    assert said == []


def test_a_webhook_that_refuses_is_said(webhook, said):
    webhook.status = 500
    Alerts(webhook.url, None, said.append).send("red", ["one"])
    assert said == ["the alert could not be posted: HTTP 500"]


def test_one_that_does_not_answer_is_said_without_its_address(webhook, said):
    url = webhook.url.replace(str(webhook.server_port), "1")
    Alerts(url, None, said.append).send("red", ["one"])
    assert said == ["the alert could not be posted: ConnectionError"]


def test_a_command_gets_the_text_on_its_input(tmp_path, said):
    target = tmp_path / "alert"
    code = f"import sys; open({str(target)!r}, 'w').write(sys.stdin.read())"
    Alerts(None, python(code), said.append).send("red", ["one"])
    assert target.read_text() == "mlops paper-trade, team red:\none"
    assert said == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/no/such/command", "trading.alert_command failed"),
        ("'not closed", "trading.alert_command failed: No closing quotation"),
        (python("import sys; sys.exit('no mail here')"), "trading.alert_command ended with 1: no mail here"),
    ],
)
def test_a_command_that_fails_is_said(command, words, said):
    Alerts(None, command, said.append).send("red", ["one"])
    assert len(said) == 1
    assert said[0].startswith(words)


def test_where_one_way_fails_the_other_is_tried(webhook, tmp_path, said):
    webhook.status = 404
    target = tmp_path / "alert"
    Alerts(webhook.url, python(f"open({str(target)!r}, 'w')"), said.append).send("red", ["one"])
    assert target.exists()
    assert len(said) == 1


class TestTell:
    def test_an_alert_of_no_team_has_a_title_of_its_own(self, webhook, said):
        assert Alerts(webhook.url, None, said.append).tell("mlops live, shares", ["one"])
        assert webhook.bodies == [{"text": "mlops live, shares:\none"}]

    def test_nobody_is_told_where_nothing_is_set_or_nothing_is_said(self, webhook, said):
        assert not Alerts(None, None, said.append).tell("title", ["one"])
        assert not Alerts(webhook.url, None, said.append).tell("title", [])

    @pytest.mark.parametrize(("status", "code", "told"), [(200, "", True), (500, "", True), (500, "exit(1)", False)])
    def test_somebody_is_told_if_one_way_works(self, webhook, said, status, code, told):
        webhook.status = status
        assert Alerts(webhook.url, python(f"import sys; {code}"), said.append).tell("title", ["one"]) is told
