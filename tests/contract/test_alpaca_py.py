"""What mlops relies on in alpaca-py beyond its public interface: two private attributes, and requests through them."""

from __future__ import annotations

import importlib.metadata

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.trading.client import TradingClient
from requests import Response
from requests.adapters import BaseAdapter


class Failing(BaseAdapter):
    """A server that always answers 504, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def send(self, request, **_):
        self.asked += 1
        answer = Response()
        answer.status_code, answer.request, answer.url = 504, request, request.url
        answer._content = b'{"code": 50410000, "message": "gateway timeout"}'
        return answer

    def close(self) -> None:
        pass


@pytest.mark.parametrize("kind", [TradingClient, StockHistoricalDataClient])
def test_a_client_sends_through_its_session_and_retries_as_often_as_it_is_told(kind):
    client = kind("key", "secret", raw_data=True)
    assert isinstance(client._session, requests.Session)
    assert isinstance(client._retry, int)
    server, session = Failing(), requests.Session()
    session.mount("https://", server)
    client._session, client._retry = session, 0
    with pytest.raises(APIError) as raised:
        client.post("/orders", {})
    assert server.asked == 1
    assert (raised.value.status_code, raised.value.code, raised.value.message) == (504, 50410000, "gateway timeout")
    client._retry, client._retry_wait = 2, 0
    with pytest.raises(APIError):
        client.post("/orders", {})
    assert server.asked == 4


def test_the_version_is_the_one_that_these_attributes_were_looked_up_in():
    assert importlib.metadata.version("alpaca-py").startswith("0.44.")
