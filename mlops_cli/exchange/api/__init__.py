"""The exchange over HTTP, in the shapes of Alpaca's API."""
