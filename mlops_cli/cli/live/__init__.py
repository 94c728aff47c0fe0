"""Commands of the nightly loop."""
