"""The currencies in which exchanges quote prices."""

from __future__ import annotations

_EXCHANGES = {
    "USD": "XNYS XNAS NYSE NASDAQ XASE ARCX BATS",
    "EUR": "XETR XFRA XPAR XAMS XBRU XLIS XMIL XMAD XHEL XDUB XWBO ASEX",
    "GBp": "XLON", "CHF": "XSWX", "CAD": "XTSE", "JPY": "XTKS", "HKD": "XHKG", "AUD": "XASX", "NZD": "XNZE",
    "SEK": "XSTO", "NOK": "XOSL", "DKK": "XCSE", "PLN": "XWAR", "CZK": "XPRA", "HUF": "XBUD", "BRL": "BVMF",
    "KRW": "XKRX", "CNY": "XSHG", "TWD": "XTAI", "SGD": "XSES", "INR": "XBOM", "MXN": "XMEX",
}  # fmt: skip
_OF_EXCHANGE = {exchange: currency for currency, exchanges in _EXCHANGES.items() for exchange in exchanges.split()}


def quoted_currency(exchange: str) -> str | None:
    """The currency of an exchange's prices (`USD`; `GBp` for pence); None if it is not known here.

    >>> quoted_currency("XNYS"), quoted_currency("XLON"), quoted_currency("XJSE")
    ('USD', 'GBp', None)
    """
    return _OF_EXCHANGE.get(exchange)


def same_currency(code: str, other: str) -> bool:
    """Whether two codes name the same currency. Pence (`GBp`, `GBX`) are not pounds (`GBP`).

    >>> same_currency("usd", "USD"), same_currency("GBX", "GBp"), same_currency("GBP", "GBp")
    (True, True, False)
    """
    return _plain(code) == _plain(other)


def _plain(currency: str) -> str:
    text = currency.strip()
    return "GBX" if text in ("GBp", "GBX", "gbx") else text.upper()
