"""Paper trading and its replays: from the project's files to passes over a broker."""
