"""A record, outside of this program, of what was trained, from which code and data, and how good it was."""
