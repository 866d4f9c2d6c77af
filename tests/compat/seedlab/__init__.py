"""A profile package as they were written for the seed: nothing in it knows of this runner."""

from pathlib import Path


def profile_root() -> str:
    return str(Path(__file__).parent / "profile")
