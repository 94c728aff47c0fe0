"""Alerts to a webhook, to a command such as mail, or to both. An alert that fails never stops a pass."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import requests

from mlops_cli.system.bounded_http import bounded

TIMEOUT_SECONDS = 15
LARGEST_ANSWER = 10**6


@dataclass(frozen=True, repr=False)
class Alerts:
    """Sends alerts; does nothing without a webhook and a command.

    Attributes:
        webhook: gets `{"text": ..., "team": ...}` by POST, as Slack and its like take it. Its address is a secret.
        command: gets the text on its standard input.
        say: gets a line for each alert that could not be sent.
    """

    webhook: str | None
    command: str | None
    say: Callable[[str], None]

    def send(self, team: str, lines: Sequence[str]) -> None:
        """Send one alert for all the lines; none for no lines."""
        if not lines:
            return
        text = "\n".join([f"mlops paper-trade, team {team}:", *lines])
        if self.webhook:
            self._post(self.webhook, team, text)
        if self.command:
            self._run(self.command, text)

    def _post(self, webhook: str, team: str, text: str) -> None:
        try:
            body = {"text": text, "team": team}
            post = partial(requests.post, webhook, json=body, timeout=TIMEOUT_SECONDS, stream=True)
            answer = bounded(post, TIMEOUT_SECONDS, LARGEST_ANSWER)
        except requests.RequestException as error:  # its words hold the address
            self.say(f"the alert could not be posted: {type(error).__name__}")
            return
        if not answer.ok:
            self.say(f"the alert could not be posted: HTTP {answer.status_code}")

    def _run(self, command: str, text: str) -> None:
        try:
            words = shlex.split(command)
            done = subprocess.run(words, input=text, text=True, capture_output=True, timeout=TIMEOUT_SECONDS)  # noqa: PLW1510
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            self.say(f"trading.alert_command failed: {error}")
            return
        if done.returncode:
            self.say(f"trading.alert_command ended with {done.returncode}: {done.stderr.strip()[:200]}")
