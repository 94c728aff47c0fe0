"""What people and the server see of the journal: lists, the gap to a replay, the newest forecasts."""
