"""Decides which requests a server without a token answers: those of programs, and of its own pages in a browser.

A browser on this machine sends requests to local servers for any page that asks it to. It names the page in `Origin`
and `Sec-Fetch-Site`, which the page cannot change. With DNS rebinding, the name of a foreign page leads to this
machine, so that the browser takes the server for the page's own; then only `Host` shows the foreign name.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from mlops_cli.errors import ConfigError

LOCALHOST = "localhost"
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-fA-F:.]{2,45}\]|[0-9a-zA-Z._-]{1,255})(:(?P<port>[0-9]{0,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#@\s]+)")
_PORTS = {"http": 80, "https": 443}
_SHOWN = 80
_OWN_SITES = (b"same-origin", b"none")
_HINT = "call it as localhost or by its address; for another name, start it with --allowed-host NAME"
_ORIGIN_HINT = "ask from a program; for a page behind a reverse proxy, start the server with --allowed-host NAME"


class Refusal(NamedTuple):
    """Why a request is refused: HTTP status, what is wrong, and what the caller can do."""

    status: int
    message: str
    hint: str


class _Caller(NamedTuple):
    """The values of Host, Origin and Sec-Fetch-Site in a request; each header may be there several times."""

    hosts: list[bytes]
    origins: list[bytes]
    sites: list[bytes]


class Authority(NamedTuple):
    """A host (lower case, without a dot at its end; addresses in their shortest form) and a port, None if not given."""

    host: str
    port: int | None


@dataclass(frozen=True)
class OwnSite:
    """The names of a server.

    Attributes:
        names: of this machine; they count in `Host`.
        allowed: further names, which also count in `Origin`: a reverse proxy may pass on a `Host` of its own.
        pages: whether links on other sites may lead to this server's pages.
    """

    names: frozenset[str]
    allowed: frozenset[str] = frozenset()
    pages: bool = False

    @classmethod
    def of(cls, host: str, allowed: Iterable[str] = (), *, pages: bool = False) -> OwnSite:
        """The names of a server that listens on `host`, which need not be its address but may be a name.

        Raises:
            ConfigError: one of `allowed` is no host name.
        """
        allowed_names = frozenset(_allowed_name(name) for name in allowed)
        own = (LOCALHOST, _plain_host(host), _plain_host(socket.gethostname()))
        return cls(frozenset(own) | allowed_names, allowed_names, pages)

    def admits_program(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request is surely answered, found quickly; `refusal` decides about the others.

        That is so if it is for this server and nothing in it comes from a browser.

        Args:
            scope: of the request (ASGI).
            headers: all its headers, none of which was given twice.
        """
        host = headers.get(b"host")
        if host is None or b"origin" in headers or b"sec-fetch-site" in headers:
            return False
        local = scope.get("server")
        return _is_own(host, local[0] if local else "", self.names)

    def refusal(self, scope: Mapping[str, Any]) -> Refusal | None:
        """Why an HTTP request (an ASGI scope) is not answered; None if it is."""
        caller = _read_caller(scope["headers"])
        return self._foreign_host(caller, scope) or self._foreign_page(caller, scope) or _host_count(caller, scope)

    def _foreign_host(self, caller: _Caller, scope: Mapping[str, Any]) -> Refusal | None:
        local = scope.get("server")
        for host in caller.hosts:
            if not _is_own(host, local[0] if local else "", self.names):
                return Refusal(403, f"the request is for {_shown(host)!r}, which is not this server", _HINT)
        return None

    def _foreign_page(self, caller: _Caller, scope: Mapping[str, Any]) -> Refusal | None:
        for origin in caller.origins:
            if not caller.hosts or not self._is_own_origin(origin, caller.hosts[0]):
                return _foreign(_shown(origin))
        for site in caller.sites:
            if site not in _OWN_SITES and not (self.pages and _is_link(scope)):
                return _foreign("another site")
        return None

    def _is_own_origin(self, origin: bytes, host: bytes) -> bool:
        parts = _ORIGIN.fullmatch(origin.decode("latin-1"))
        page = None if parts is None else parse_authority(parts["authority"])
        called = parse_authority(host.decode("latin-1"))
        if parts is None or page is None or called is None:
            return False
        if page.host in self.allowed:
            return True
        usual = _PORTS[parts["scheme"]]
        return page.host == called.host and (page.port or usual) == (called.port or usual)


@lru_cache(maxsize=1024)
def _is_own(host: bytes, local: str, names: frozenset[str]) -> bool:
    """Whether a Host header names this server; `local` is the address at which the request arrived."""
    called = parse_authority(host.decode("latin-1"))
    if called is None:
        return False
    if called.host in names or called.host == _plain_host(local):
        return True
    try:
        return ipaddress.ip_address(called.host).is_loopback
    except ValueError:
        return False


def parse_authority(text: str) -> Authority | None:
    """Read a host with or without a port, as in a Host header; None if it is none."""
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        return None
    host = parts["host"]
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return None
    return Authority(_plain_host(host.strip("[]")), int(parts["port"]) if parts["port"] else None)


def _plain_host(host: str) -> str:
    """A host so that two texts of one host are equal."""
    name = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _allowed_name(text: str) -> str:
    authority = parse_authority(f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text)
    if authority is None:
        raise ConfigError(f"--allowed-host {text}: this is no host name", "give one such as forecasts.example.com")
    return authority.host


def _is_link(scope: Mapping[str, Any]) -> bool:
    """Whether a browser opens a page because a person has followed a link, or has typed its address."""
    headers = dict(scope["headers"])
    opens = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
    return opens and scope["method"] in ("GET", "HEAD") and b"origin" not in headers


def _read_caller(headers: Iterable[tuple[bytes, bytes]]) -> _Caller:
    hosts: list[bytes] = []
    origins: list[bytes] = []
    sites: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"origin":
            origins.append(value)
        elif name == b"sec-fetch-site":
            sites.append(value)
    return _Caller(hosts, origins, sites)


def _host_count(caller: _Caller, scope: Mapping[str, Any]) -> Refusal | None:
    """HTTP/1.0 knows no Host; where it is missing, no browser asks."""
    count = len(caller.hosts)
    if count == 1 or (count == 0 and scope.get("http_version") != "1.1"):
        return None
    return Refusal(400, f"the request has {count} Host headers", "send one")


def _foreign(page: str) -> Refusal:
    return Refusal(403, f"a page of {page} asks, which is not this server's", _ORIGIN_HINT)


def _shown(value: bytes) -> str:
    return value.decode("latin-1")[:_SHOWN]
