"""Alerts to a webhook, to a command such as mail, or to both. An alert that fails never stops a pass."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
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
        webhook: gets `{"text": ...}` by POST, as Slack and its like take it, and `"team"` if the alert is about one.
            Its address is a secret.
        command: gets the text on its standard input.
        say: gets a line for each alert that could not be sent.
    """

    webhook: str | None
    command: str | None
    say: Callable[[str], None]

    def send(self, team: str, lines: Sequence[str]) -> bool:
        """Send one alert for all the lines of a team's pass; none for no lines. See `tell`."""
        return self.tell(f"mlops paper-trade, team {team}", lines, team)

    def tell(self, title: str, lines: Sequence[str], team: str | None = None) -> bool:
        """Send one alert for all the lines, under a title; none for no lines.

        Returns:
            Whether somebody could be told: the webhook or the command took it.
        """
        if not lines:
            return False
        text = "\n".join([f"{title}:", *lines])
        posted = bool(self.webhook) and self._post(
            str(self.webhook), {"text": text, **({"team": team} if team else {})}
        )
        ran = bool(self.command) and self._run(str(self.command), text)
        return posted or ran

    def _post(self, webhook: str, body: Mapping[str, str]) -> bool:
        try:
            post = partial(requests.post, webhook, json=body, timeout=TIMEOUT_SECONDS, stream=True)
            answer = bounded(post, TIMEOUT_SECONDS, LARGEST_ANSWER)
        except requests.RequestException as error:  # its words hold the address
            self.say(f"the alert could not be posted: {type(error).__name__}")
            return False
        if not answer.ok:
            self.say(f"the alert could not be posted: HTTP {answer.status_code}")
        return bool(answer.ok)

    def _run(self, command: str, text: str) -> bool:
        try:
            words = shlex.split(command)
            done = subprocess.run(words, input=text, text=True, capture_output=True, timeout=TIMEOUT_SECONDS)  # noqa: PLW1510
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            self.say(f"trading.alert_command failed: {error}")
            return False
        if done.returncode:
            self.say(f"trading.alert_command ended with {done.returncode}: {done.stderr.strip()[:200]}")
        return done.returncode == 0
