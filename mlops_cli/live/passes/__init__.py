"""The nightly pass: its steps, in order, each of which does only what is missing."""
