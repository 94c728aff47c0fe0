"""The command line: one short function per command, one error boundary."""
