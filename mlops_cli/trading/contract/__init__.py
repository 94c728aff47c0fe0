"""What the parts of paper trading exchange, and the port `Broker`."""
