"""The prices that the exchange trades at."""
