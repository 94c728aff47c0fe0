"""From forecasts to orders: decide, write down, send, follow, reconcile."""
