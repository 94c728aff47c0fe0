"""The port `PriceSource` and its adapters."""
