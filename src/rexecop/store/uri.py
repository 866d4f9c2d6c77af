"""The value of `--storage` and `REXECOP_STORAGE`: which ledger an instance uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from rexecop.store.errors import ExtraMissing, StoragePassword, StorageRefused

ALLOWED: Final = "`sqlite` or `postgresql://USER@HOST/DATABASE`"
POSTGRES_EXTRA: Final = "postgres"
VALUE_LENGTH_MAX: Final = 2048  # Longer than any connection URL people write.

_POSTGRES_SCHEMES: Final = ("postgresql", "postgres")
_PASSWORD_FIELDS: Final = ("password", "sslpassword")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A storage that was understood: `sqlite`. `remark` is to be shown to the person once."""

    kind: str
    remark: str | None = None


def parse_storage(value: str | None) -> Storage:
    """Return the storage that `value` names; None or an empty text is the default, `sqlite`.

    Raises:
        StoragePassword: a URL that carries a password; it is never repeated.
        ExtraMissing: a PostgreSQL ledger, which this installation cannot serve.
        StorageRefused: anything else, naming what is allowed.
    """
    if not value or value == "sqlite":
        return Storage(kind="sqlite")
    if value == "file":
        return Storage(
            kind="sqlite", remark="`file` is understood as `sqlite`: the ledger is one SQLite file"
        )
    scheme = value.split(":", 1)[0].lower()
    if "://" not in value or len(value) > VALUE_LENGTH_MAX:
        # Only the scheme or a plain word is repeated: what else was typed may hold a secret.
        word = value if value.isidentifier() and len(value) <= 32 else "value"
        raise StorageRefused(f"storage `{word}` is not known; allowed: {ALLOWED}", allowed=ALLOWED)
    if _has_password(value):
        raise StoragePassword(
            "the storage URL carries a password; put it into the file that `PGPASSFILE` names,"
            " or name it with `password_ref`",
            allowed="PGPASSFILE or password_ref",
        )
    if scheme in _POSTGRES_SCHEMES:
        raise ExtraMissing(
            f"a PostgreSQL ledger needs the extra `{POSTGRES_EXTRA}`, which this installation cannot serve",
            extra=POSTGRES_EXTRA,
            allowed="sqlite",
        )
    raise StorageRefused(f"storage `{scheme[:32]}://` is not known; allowed: {ALLOWED}", allowed=ALLOWED)


def _has_password(value: str) -> bool:
    try:
        parts = urlsplit(value)
        named = {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
    except ValueError:
        # What cannot be taken apart cannot be shown to hold no password.
        return "@" in value or "password" in value.lower()
    return ":" in parts.netloc.rpartition("@")[0] or not named.isdisjoint(_PASSWORD_FIELDS)
