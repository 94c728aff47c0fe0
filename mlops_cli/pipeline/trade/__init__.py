"""Paper trading and its replays: the project's models and prices, handed to the passes of room `trading`."""
