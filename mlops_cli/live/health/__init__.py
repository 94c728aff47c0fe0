"""Whether each model still forecasts as it did on its reference, from its errors beside those of the naive forecast."""
