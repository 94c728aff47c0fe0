"""How the teams did: competition, performance, slippage."""
