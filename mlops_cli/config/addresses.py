"""Which addresses are on this machine, and which would carry a secret in the clear."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
"""Other loopback addresses (127.0.0.2) are left out: they are what tunnels and containers are bound to."""


def is_local(address: str) -> bool:
    """Whether an address is on this machine, by its host's name.

    >>> is_local("http://[::1]:8081"), is_local("http://localhost@example.org"), is_local("http://127.0.0.2")
    (True, False, False)
    """
    return _parts(address).hostname in THIS_MACHINE


def in_the_clear(address: str | None) -> bool:
    """Whether what is sent to an address can be read on the way: neither https nor on this machine.

    >>> in_the_clear("http://example.org"), in_the_clear("https://example.org"), in_the_clear("http://localhost:8081")
    (True, False, False)
    """
    return bool(address) and _parts(str(address)).scheme != "https" and not is_local(str(address))


def has_password(address: str) -> bool:
    """Whether an address names a user, as in `http://me:secret@example.org`."""
    return "@" in _parts(address).netloc


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # such as a [ without a ]
        return urlsplit("")
