"""Listening sockets: taken, refused with a way out, and closed where they are refused."""

from __future__ import annotations

import socket

import pytest

from mlops_cli.errors import ServiceError
from mlops_cli.system.sockets import listen

HINT = "take another port"


def test_clients_can_connect_before_anybody_accepts():
    with (
        listen("127.0.0.1", 0, HINT) as listener,
        socket.create_connection(listener.getsockname(), timeout=5) as client,
    ):
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


def test_names_and_ipv6_are_addresses_too():
    with listen("localhost", 0, HINT) as listener:
        assert listener.getsockname()[1] > 0
    if socket.has_ipv6:
        try:
            with listen("::1", 0, HINT) as listener:
                assert listener.family == socket.AF_INET6
        except ServiceError as error:
            pytest.skip(f"no IPv6 on this machine: {error.message}")


def test_a_taken_port_is_refused_with_the_callers_hint():
    with listen("127.0.0.1", 0, HINT) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServiceError, match=f"cannot listen on 127.0.0.1:{port}") as told:
            listen("127.0.0.1", port, HINT)
        assert told.value.hint == HINT
    listen("127.0.0.1", port, HINT).close()  # the refused attempt holds nothing


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_refused(host: str):
    with pytest.raises(ServiceError, match="cannot listen on") as told:
        listen(host, 0, HINT)
    assert told.value.hint == "give a --host of this machine"


@pytest.mark.parametrize("port", [70_000, -1])
def test_a_port_that_is_none_is_refused(port: int):
    with pytest.raises(ServiceError, match=f"cannot listen on 127.0.0.1:{port}"):
        listen("127.0.0.1", port, HINT)
