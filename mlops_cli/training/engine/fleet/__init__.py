"""Models of one architecture trained together in one stacked tensor."""
