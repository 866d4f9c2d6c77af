"""Where secret references resolve: the environment, then a private file. Values live in lane calls only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from rexecop.app.errors import SecretMissing
from rexecop.app.files import read_file, require_secret
from rexecop.execution.strict_yaml import load_yaml

PREFIX: Final = "REXECOP_SECRET_"
FILE: Final = "REXECOP_SECRETS_FILE"


def secret_resolver(environ: Mapping[str, str]) -> Callable[[str], bytes]:
    """Return what yields the value of a reference, or raises SecretMissing."""

    def resolve(reference: str) -> bytes:
        name = PREFIX + reference.upper().replace("-", "_")
        if name in environ:
            return environ[name].encode()
        found = _from_file(environ[FILE], reference) if FILE in environ else None
        if found is None:
            raise SecretMissing(
                f"secret `{reference}` is nowhere: set `{name}`, or name a file in `{FILE}`",
                reference=reference,
            )
        return found.encode()

    return resolve


def _from_file(name: str, reference: str) -> str | None:
    """Return the value of `reference` under `secrets:` in a file only the caller can read.

    Raises:
        RootUnsafe, FileMissing: others could read or write it, or it is not there.
        YamlRefused: it is not strict YAML; the message names a place, never a value.
    """
    path = Path(name)
    require_secret(path)
    top = load_yaml(read_file(path), source=path.name).value
    secrets = top.get("secrets") if isinstance(top, Mapping) else None
    found = secrets.get(reference) if isinstance(secrets, Mapping) else None
    return found if isinstance(found, str) else None
