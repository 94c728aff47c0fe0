"""The port `Broker` over Alpaca's API."""
