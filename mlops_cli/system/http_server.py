"""The HTTP server of every server in this project: uvicorn, with limits for its connections and a proper end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import uvicorn

from mlops_cli.system.http_connections import BoundedHttp, Connections, Limits


@dataclass(frozen=True)
class ServerTimes:
    """Seconds for which an idle connection stays open, and for which requests may go on after a signal to end."""

    keep_alive: int
    drain: int


class Server(uvicorn.Server):
    """Uvicorn that calls `ready` when it listens, and that ends with exit code 0 after SIGTERM or Ctrl-C."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Accept connections, then call `ready`."""
        await super().startup(sockets)
        self._ready()

    def stop(self) -> None:
        """Finish the requests that are being answered, then end; may be called from any thread."""
        self.should_exit = True

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return signal.SIGINT in self._captured_signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals. Uvicorn's own method raises the signal again at the end, so that the exit code is not 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def http_server(
    app: Any, times: ServerTimes, ready: Callable[[], None] = lambda: None, limits: Limits | None = None
) -> Server:
    """A server of an ASGI app, to start with `serve(sockets=[...])` or `run(sockets=[...])`."""
    protocol = partial(BoundedHttp, Connections(limits or Limits()))
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=times.keep_alive,
        timeout_graceful_shutdown=times.drain,
    )
    return Server(config, ready)
