"""Which requests a server without a token answers, by their Host, Origin and Sec-Fetch-Site."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import ConfigError
from mlops_cli.system.own_site import Authority, OwnSite, parse_authority

SITE = OwnSite.of("127.0.0.1")


def status(
    site: OwnSite = SITE,
    *headers: tuple[str, str],
    method: str = "POST",
    local: str = "127.0.0.1",
    version: str = "1.1",
) -> int:
    """The status of the refusal of a request with these headers; 0 if it is answered."""
    scope: dict[str, Any] = {
        "method": method,
        "http_version": version,
        "server": (local, 8080),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    refusal = site.refusal(scope)
    single = dict(scope["headers"])
    if len(single) == len(headers) and site.admits_program(scope, single):
        assert refusal is None, "what is admitted quickly is admitted"
    return 0 if refusal is None else refusal.status


def host(text: str) -> tuple[str, str]:
    return ("host", text)


def origin(text: str) -> tuple[str, str]:
    return ("origin", text)


OWN_HOSTS = (
    "localhost", "localhost:8080", "LOCALHOST:8080", "LocalHost.", "localhost.:8080", "127.0.0.1", "127.0.0.1:1",
    "127.3.2.1:8080", "[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]:8080", "[::ffff:127.0.0.1]:8080", "localhost:",
    "localhost:9999",  # forwarded from another port
)  # fmt: skip
FOREIGN_HOSTS = (
    "evil.com", "evil.com:8080", "EVIL.COM.", "localhost.evil.com", "127.0.0.1.evil.com", "evil.com:8080@localhost",
    "evil.localhost", "192.168.1.5", "8.8.8.8:8080", "0.0.0.0:8080", "[::2]:8080", "[::ffff:8.8.8.8]", "2130706433",
    "127.1", "0x7f.0.0.1", "", " ", ":8080", "localhost evil.com", "localhost,evil.com", "localhost/evil.com",
    "localhost:80a", "[::1", "::1", "[evil.com]", "[1:2]", "localhost:123456", "xn--lcalhost-54a", "\xfflocalhost",
)  # fmt: skip


@pytest.mark.parametrize("text", OWN_HOSTS)
def test_this_machine_is_known_by_these_names(text: str) -> None:
    assert status(SITE, host(text)) == 0


@pytest.mark.parametrize("text", FOREIGN_HOSTS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_other_names_are_refused(text: str, method: str) -> None:
    assert status(SITE, host(text), method=method) == 403
    assert status(SITE, host(text), origin(f"http://{text}"), method=method) == 403, "as DNS rebinding sends it"


def test_the_address_at_which_a_request_arrives_is_this_machines() -> None:
    assert status(SITE, host("10.1.2.3:8080"), local="10.1.2.3") == 0
    assert status(SITE, host("10.1.2.4:8080"), local="10.1.2.3") == 403
    assert status(SITE, host("[FE80::1]:8080"), local="fe80::1") == 0
    assert status(SITE, host("10.1.2.3"), local="::ffff:10.1.2.3") == 0


def test_the_host_given_and_this_machines_name_count() -> None:
    assert status(OwnSite.of("0.0.0.0"), host("0.0.0.0:8080")) == 0
    assert status(OwnSite.of("Box.Lan."), host("box.lan:8080")) == 0
    assert status(SITE, host("box.lan:8080")) == 403
    assert status(SITE, host(f"{socket.gethostname()}:8080")) == 0


@pytest.mark.parametrize(
    ("called", "page", "expected"),
    [
        ("localhost:8080", "http://localhost:8080", 0),
        ("LOCALHOST:8080", "http://localhost.:8080", 0),
        ("localhost", "http://localhost", 0),
        ("localhost:80", "http://localhost", 0),
        ("localhost:443", "https://localhost", 0),
        ("[::1]:8080", "http://[0::1]:8080", 0),
        ("localhost:8080", "http://localhost:3000", 403),  # another program's pages
        ("localhost:8080", "http://127.0.0.1:8080", 403),
        ("localhost:8080", "https://evil.com", 403),
        ("localhost:8080", "null", 403),
        ("localhost:8080", "", 403),
        ("localhost:8080", "file://", 403),
        ("localhost:8080", "chrome-extension://localhost:8080", 403),
        ("localhost:8080", "http://localhost:8080/", 403),
        ("localhost:8080", "http://localhost:8080@evil.com", 403),
        ("localhost:8080", "localhost:8080", 403),
        ("localhost:8080", "http://localhost:8080 http://evil.com", 403),
    ],
)
def test_only_the_servers_own_pages_may_ask(called: str, page: str, expected: int) -> None:
    for method in ("GET", "POST"):
        assert status(SITE, host(called), origin(page), method=method) == expected


@pytest.mark.parametrize("called", [[], [host("")]])
def test_no_browser_leaves_host_out(called: list[tuple[str, str]]) -> None:
    assert status(SITE, *called, origin("null")) == 403
    assert status(SITE, *called, origin("http://")) == 403
    assert status(SITE, *called, ("sec-fetch-site", "cross-site")) == 403


def test_only_http_1_0_knows_no_host() -> None:
    assert status(SITE, version="1.0") == 0
    assert status(SITE, version="1.1") == 400


def test_several_headers_of_one_name() -> None:
    own, foreign = host("localhost:8080"), host("evil.com")
    assert status(SITE, own, own) == 400
    assert status(SITE, own, foreign) == status(SITE, foreign, own) == 403
    pages = origin("http://localhost:8080"), origin("http://evil.com")
    assert status(SITE, own, *pages) == status(SITE, own, *reversed(pages)) == 403
    assert status(SITE, own, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")) == 403


@pytest.mark.parametrize(
    "header",
    [("x-forwarded-host", "localhost"), ("forwarded", "host=localhost"), ("x-forwarded-for", "127.0.0.1"),
     ("x-original-host", "localhost"), (":authority", "localhost")],
)  # fmt: skip
def test_headers_that_anybody_can_send_do_not_count(header: tuple[str, str]) -> None:
    assert status(SITE, host("evil.com"), header) == 403
    assert status(SITE, host("localhost"), (header[0], "evil.com")) == 0


@pytest.mark.parametrize(
    ("site", "expected"),
    [("same-origin", 0), ("none", 0), ("same-site", 403), ("cross-site", 403), ("", 403), ("Cross-Site", 403)],
)
def test_a_browser_says_where_a_page_comes_from(site: str, expected: int) -> None:
    assert status(SITE, host("localhost"), ("sec-fetch-site", site), method="GET") == expected


LINK = (host("localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"))
DOCUMENT = ("sec-fetch-dest", "document")


def test_links_lead_to_servers_that_have_pages() -> None:
    pages = OwnSite.of("127.0.0.1", pages=True)
    assert status(pages, *LINK, DOCUMENT, method="GET") == 0
    assert status(SITE, *LINK, DOCUMENT, method="GET") == 403
    assert status(pages, *LINK, DOCUMENT, method="POST") == 403
    assert status(pages, *LINK, DOCUMENT, origin("https://evil.com"), method="GET") == 403
    assert status(pages, *LINK, ("sec-fetch-dest", "iframe"), method="GET") == 403
    assert status(pages, host("evil.com"), *LINK[1:], DOCUMENT, method="GET") == 403


def test_an_operator_allows_the_name_of_a_reverse_proxy() -> None:
    proxied = OwnSite.of("127.0.0.1", ["Forecasts.Example.com", "10.9.8.7:8080", "fd00::1"])
    name, page = host("forecasts.example.com"), origin("https://forecasts.example.com")
    assert status(proxied, name) == status(proxied, name, page) == 0
    assert status(proxied, host("127.0.0.1:8080"), page) == 0, "the proxy passes on a Host of its own"
    assert status(proxied, host("10.9.8.7:9000")) == status(proxied, host("[fd00::1]:8080")) == 0
    assert status(proxied, host("www.forecasts.example.com")) == 403
    assert status(proxied, name, origin("https://example.com")) == 403


@pytest.mark.parametrize("name", ["", "a b", "https://example.com", "*", "example.com/x", "[::1", "a@b"])
def test_what_is_no_host_name_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ConfigError, match=r"--allowed-host .*this is no host name"):
        OwnSite.of("127.0.0.1", [name])


def test_a_refusal_says_what_helps_and_is_short() -> None:
    scope = {"method": "GET", "http_version": "1.1", "headers": [(b"host", b"e" * 250)]}
    refusal = SITE.refusal(scope)
    assert refusal is not None
    assert "--allowed-host" in refusal.hint
    assert len(refusal.message) < 150


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_whatever_a_host_is_it_is_read_or_refused(text: str) -> None:
    authority = parse_authority(text)
    assert authority is None or authority.host == authority.host.lower()
    assert status(SITE, host(text)) in (0, 403)


@given(st.ip_addresses(), st.one_of(st.none(), st.integers(1, 65_535)))
def test_addresses_are_read(address: Any, port: int | None) -> None:
    shown = f"[{address}]" if address.version == 6 else str(address)
    end = "" if port is None else f":{port}"
    plain = getattr(address, "ipv4_mapped", None) or address
    assert parse_authority(shown + end) == Authority(str(plain), port)
    assert (status(SITE, host(shown + end)) == 0) == plain.is_loopback


@pytest.mark.parametrize(
    ("headers", "quickly"),
    [
        ([("host", "localhost:8080"), ("accept", "*/*")], True),
        ([("host", "evil.com")], False),
        ([("accept", "*/*")], False),
        ([("host", "localhost"), ("origin", "http://localhost:8080")], False),
        ([("host", "localhost"), ("sec-fetch-site", "none")], False),
    ],
)
def test_only_requests_of_programs_are_admitted_quickly(headers: list[tuple[str, str]], quickly: bool) -> None:
    given = {name.encode(): value.encode() for name, value in headers}
    assert SITE.admits_program({"server": ("127.0.0.1", 8080)}, given) is quickly
