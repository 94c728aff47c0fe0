"""Dividends from Alpaca's corporate actions, fetched by alpaca-py: past ones and announced ones, many tickers a call.

Alpaca lists the rate per share of its ex-date; here it is converted to shares of today by the splits in between, also
by coming ones. The day of the announcement is not listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from itertools import batched
from typing import Any, cast

import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import CorporateActionsType
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.requests import CorporateActionsRequest

from mlops_cli.config.addresses import is_local
from mlops_cli.errors import ServiceError
from mlops_cli.market.symbols import symbol_of
from mlops_cli.prices.actions.action_source import ActionRequest, ListedDividend, Listing, Listings
from mlops_cli.prices.sources.source import SourceFailure
from mlops_cli.system.bounded_http import bounded

DATA = "https://data.alpaca.markets"
SOURCE = "alpaca"
TICKERS_PER_REQUEST = 100
FIRST_DAY = date(1980, 1, 1)
AHEAD = timedelta(days=366)
LARGEST_ANSWER = 50 * 10**6  # bytes; a page of 1,000 dividends has 300,000
_TYPES = [
    CorporateActionsType.CASH_DIVIDEND,
    CorporateActionsType.FORWARD_SPLIT,
    CorporateActionsType.REVERSE_SPLIT,
]


@dataclass(frozen=True, repr=False)
class AlpacaKeys:
    """Keys of any account, and the address of the market data API; the keys are never shown."""

    key: str
    secret: str
    address: str = DATA


class _Session(requests.Session):
    """A session with a deadline for each answer and a bound on its size, which alpaca-py does not set."""

    def __init__(self, address: str, deadline_s: float) -> None:
        super().__init__()
        self.trust_env = not is_local(address)  # a proxy cannot reach this machine's loopback address
        self._deadline_s = deadline_s

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request."""
        options = {"timeout": (5.0, 20.0), **options, "stream": True}
        return bounded(partial(super().request, *arguments, **options), self._deadline_s, LARGEST_ANSWER)


class AlpacaActions:
    """Alpaca's corporate actions: cash dividends from `FIRST_DAY` to a year ahead."""

    name = SOURCE

    def __init__(self, keys: AlpacaKeys, *, deadline_s: float = 30.0, retry_wait_s: float = 3.0) -> None:
        self._client = CorporateActionsClient(keys.key, keys.secret, raw_data=True, url_override=keys.address)
        self._client._session = _Session(keys.address, deadline_s)
        self._client._retry_wait = retry_wait_s  # type: ignore[assignment]

    def fetch(self, request: ActionRequest, progress: Callable[[str], None]) -> Listings:
        """Ask for the dividends and splits of all tickers, some at a time; after a failure, for no more of them."""
        answers: dict[str, Listing | SourceFailure] = {}
        failure = ""
        for tickers in batched(request.exchanges, TICKERS_PER_REQUEST):
            progress(f"alpaca: dividends of {tickers[0]} to {tickers[-1]}")
            try:
                actions = {} if failure else self._ask(tickers, request)
            except (APIError, requests.RequestException, OSError) as error:
                failure = f"Alpaca's corporate actions are not available: {' '.join(str(error).split())[:200]}"
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                failure = f"the answer of Alpaca's corporate actions is malformed ({str(error)[:100]})"
            if failure:
                answers |= {ticker: SourceFailure(ticker, failure, ServiceError.exit_code) for ticker in tickers}
            else:
                answers |= {ticker: Listing(ticker, SOURCE, actions.get(symbol_of(ticker), ())) for ticker in tickers}
        return Listings(answers)

    def _ask(self, tickers: Sequence[str], request: ActionRequest) -> Mapping[str, tuple[ListedDividend, ...]]:
        """The dividends by symbol, per share of today."""
        today = request.today(tickers[0])  # all trade in the US; in the evening it is tomorrow already in UTC
        answer = self._client.get_corporate_actions(
            CorporateActionsRequest(
                symbols=[symbol_of(ticker) for ticker in tickers],
                types=_TYPES,
                start=request.start or FIRST_DAY,
                end=today + AHEAD,
                limit=None,  # a number would bound all pages together
            )
        )
        return dividends_by_symbol(cast("dict[str, Any]", answer), today)


@dataclass
class _Symbol:
    """What an answer says of one symbol: splits as new shares per old one, and dividends without repeats."""

    splits: list[tuple[date, float]] = field(default_factory=list)
    dividends: dict[str, ListedDividend] = field(default_factory=dict)


def dividends_by_symbol(answer: Mapping[str, Any], today: date) -> dict[str, tuple[ListedDividend, ...]]:
    """The cash dividends in an answer, per share of `today`.

    They are divided by the splits between ex-date and today, and multiplied by those between today and ex-date.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the answer is malformed.
    """
    symbols: dict[str, _Symbol] = {}
    for split in [*answer.get("forward_splits", ()), *answer.get("reverse_splits", ())]:
        ratio = float(split["new_rate"]) / float(split["old_rate"])
        symbols.setdefault(split["symbol"], _Symbol()).splits.append((date.fromisoformat(split["ex_date"]), ratio))
    for action in answer.get("cash_dividends", ()):
        name = action.get("id") or f"{action['ex_date']} {action['rate']}"
        symbols.setdefault(action["symbol"], _Symbol()).dividends[name] = _listed(action)
    return {
        name: tuple(_per_share_today(dividend, symbol, today) for dividend in symbol.dividends.values())
        for name, symbol in symbols.items()
    }


def _listed(action: Mapping[str, Any]) -> ListedDividend:
    return ListedDividend(
        ex_date=date.fromisoformat(action["ex_date"]),
        amount=float(action["rate"]),
        where=SOURCE,
        kind="special" if action["special"] else "cash",
        currency=action.get("currency") or None,
    )


def _per_share_today(dividend: ListedDividend, symbol: _Symbol, today: date) -> ListedDividend:
    shares = 1.0
    for day, ratio in symbol.splits:
        if dividend.ex_date < day <= today:
            shares *= ratio
        elif today < day <= dividend.ex_date:
            shares /= ratio
    if shares == 1.0 or dividend.amount is None:
        return dividend
    return ListedDividend(dividend.ex_date, dividend.amount / shares, dividend.where, dividend.kind, dividend.currency)
