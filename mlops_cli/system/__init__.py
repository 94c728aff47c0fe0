"""What every room needs of the operating system: files, locks, processes, sockets."""
