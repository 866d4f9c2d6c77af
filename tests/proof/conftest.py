"""What the tests of proofs share."""

import builtins
from collections.abc import Iterator

import pytest

from rexecop.proof import library


@pytest.fixture(params=["library", "own"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Each check once with `cryptography` and once without; the list is of what was asked of it."""
    tried: list[str] = []
    plain_import = builtins.__import__

    def without(name: str, *rest: object, **named: object) -> object:
        if name.startswith("cryptography") and rest and rest[0] is vars(library):
            tried.append(name)
            if request.param == "own":
                raise ImportError(name)
        return plain_import(name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    yield tried
