"""Where secrets come from, one source a file."""
