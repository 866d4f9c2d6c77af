"""The value of `--storage` and `REXECOP_STORAGE`: which ledger an instance uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from rexecop.store.errors import StoragePassword, StorageRefused

ALLOWED: Final = "`sqlite` or `postgresql://USER@HOST/DATABASE`"
POSTGRES_EXTRA: Final = "postgres"
SCHEMA: Final = "rexecop"  # Where the tables are, unless `schema` of the URL says otherwise.
VALUE_LENGTH_MAX: Final = 2048  # Longer than any connection URL people write.

_POSTGRES_SCHEMES: Final = ("postgresql", "postgres")
_OURS: Final = ("schema", "password_ref")
_SCHEMA: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_PASSWORD_FIELDS: Final = ("password", "sslpassword")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A storage that was understood; `remark` is to be shown to the person once.

    Of a PostgreSQL ledger `url` is what its client library connects to, `schema` where the tables
    are, `password_ref` the reference of a secret, and `place` what people call it.
    """

    kind: str
    remark: str | None = None
    url: str = ""
    schema: str = SCHEMA
    password_ref: str | None = None

    @property
    def place(self) -> str:
        """What messages call it: no user, and nothing that stands in the query."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        named = "" if self.schema == SCHEMA else f"?schema={self.schema}"
        return f"postgresql://{host}{parts.path}{named}"


def parse_storage(value: str | None) -> Storage:
    """Return the storage that `value` names; None or an empty text is the default, `sqlite`.

    Raises:
        StoragePassword: a URL that carries a password; it is never repeated.
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
        return _postgres(value)
    raise StorageRefused(f"storage `{scheme[:32]}://` is not known; allowed: {ALLOWED}", allowed=ALLOWED)


def _postgres(value: str) -> Storage:
    """Return what `value` says, without the fields that are ours."""
    try:
        parts = urlsplit(value)
        fields = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError as error:
        raise StorageRefused("the storage URL cannot be taken apart", allowed=ALLOWED) from error
    ours = {key: text for key, text in fields if key in _OURS}
    schema, reference = ours.get("schema", SCHEMA), ours.get("password_ref")
    if not _SCHEMA.fullmatch(schema) or not (reference is None or _REFERENCE.fullmatch(reference)):
        words = "`schema` is up to 63 small letters, digits and `_`, `password_ref` the name of a reference"
        raise StorageRefused(f"the storage URL cannot be followed: {words}", allowed=ALLOWED)
    rest = urlencode([(key, text) for key, text in fields if key not in _OURS], safe="/", quote_via=quote)
    url = urlunsplit(("postgresql", parts.netloc, parts.path, rest, ""))
    # What is joined again must still be one: without a host it is `postgresql:///NAME`.
    url = url if "://" in url else url.replace("postgresql:", "postgresql://", 1)
    return Storage(kind="postgres", url=url, schema=schema, password_ref=reference)


def _has_password(value: str) -> bool:
    try:
        parts = urlsplit(value)
        named = {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
    except ValueError:
        # What cannot be taken apart cannot be shown to hold no password.
        return "@" in value or "password" in value.lower()
    return ":" in parts.netloc.rpartition("@")[0] or not named.isdisjoint(_PASSWORD_FIELDS)
