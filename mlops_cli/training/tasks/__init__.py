"""What training processes are given, and how it travels."""
