"""The port `PriceSource` and its adapters: csv files, sample prices and Yahoo."""
