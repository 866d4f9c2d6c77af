"""Replay: a recorded operation driven once more, in memory, by what was recorded of it."""
