"""One file per command: arguments, one call into `app`, render, exit code."""
