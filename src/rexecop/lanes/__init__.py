"""Acts: the only way to touch a target, and only with a permit for that very call. It cannot decide."""
