"""Prices in, feature table out: pure, vectorised, and blind to the future."""
