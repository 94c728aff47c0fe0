"""Model folders: manifest, saving, listing, opening, forecasting."""
