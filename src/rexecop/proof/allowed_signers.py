"""`allowed_signers` files: who may sign, with which key, for what and when, as ssh-keygen(1) defines them.

    PRINCIPALS [OPTIONS] KEY-TYPE BASE64 [COMMENT]

A line means here what it means to `ssh-keygen -Y verify`, or it is refused. Refused by
name: certificates, and times without `Z`, since a time in somebody's local zone is no
time that two readers agree on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from rexecop.proof.errors import AllowedSignersMalformed, PublicKeyMalformed
from rexecop.proof.publickey import PublicKey
from rexecop.proof.times import YEAR_MAX, YEAR_MIN

FILE_BYTES_MAX: Final = 64 * 1024  # Five hundred lines; a larger house has a file for each team.
PATTERNS_MAX: Final = 64  # In one list; each is tried for each signature.
PATTERN_LENGTH_MAX: Final = 256  # Longer than a name or a namespace may be.
ANY: Final = ("*",)

_OPTION: Final = r'(?:[A-Za-z-]+="[^"\\]*"|(?i:cert-authority))'
_LINE: Final = re.compile(
    rf'(?:"(?P<quoted>[^"]+)"|(?P<bare>[^\s"]+))[ \t]+(?:(?P<options>{_OPTION}(?:,{_OPTION})*)[ \t]+)?'
    r'(?P<key>[^\s"=,]+[ \t]+[^\s"]+.*)'
)
_TIME: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?(Z?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedSigner:
    """`public` may sign as whom `principals` match, for what `namespaces` match, from and until a moment."""

    principals: tuple[str, ...]
    public: PublicKey
    namespaces: tuple[str, ...]
    not_before: datetime | None
    not_after: datetime | None


def matches(patterns: Sequence[str], text: str) -> bool:
    """Return whether the pattern list takes `text`, as ssh_config(5) says under PATTERNS.

    `*` stands for any bytes and `?` for one; what a pattern with `!` matches is never taken.
    """
    found = False
    for pattern in patterns:
        if _compiled(pattern.removeprefix("!")).fullmatch(text.encode("utf-8", "surrogatepass")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def is_plain(principal: str) -> bool:
    """Return whether `principal` can stand in a file and matches itself and nothing else."""
    return bool(principal) and principal.isprintable() and not re.search(r'^[!#]|[*?,"]', principal)


def parse(data: bytes) -> tuple[AllowedSigner, ...]:
    """Return who may sign by the file `data`; empty lines and `#` remarks are for people.

    Raises:
        AllowedSignersMalformed: too long, or the line it names is not one that can be held to.
    """
    if len(data) > FILE_BYTES_MAX:
        raise AllowedSignersMalformed(f"it has {len(data)} bytes, at most {FILE_BYTES_MAX} are read")
    found = []
    # Split as ssh-keygen does: other line ends would let a remark hide a line.
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            text = line.decode("utf-8").strip(" \t\r")
            if text and not text.startswith("#"):
                found.append(_signer(text))
        except (ValueError, PublicKeyMalformed) as error:
            raise AllowedSignersMalformed(f"line {number}: {error}", line=number) from error
    return tuple(found)


def write(signers: Iterable[AllowedSigner]) -> str:
    """Return the file that says `signers`: `parse` reads the same from it, to the second."""
    return "".join(_written(signer) for signer in signers)


def _written(signer: AllowedSigner) -> str:
    options = [] if signer.namespaces == ANY else [f'namespaces="{",".join(signer.namespaces)}"']
    for name, moment in (("valid-after", signer.not_before), ("valid-before", signer.not_after)):
        if moment is not None:
            options.append(f'{name}="{moment.astimezone(UTC):%Y%m%d%H%M%S}Z"')
    principals = ",".join(signer.principals)
    principals = f'"{principals}"' if " " in principals or principals.startswith("#") else principals
    return " ".join((principals, *([",".join(options)] if options else []), signer.public.line)) + "\n"


def _signer(text: str) -> AllowedSigner:
    match = _LINE.fullmatch(text)
    if match is None:
        raise ValueError('it is not like `NAME [namespaces="...",...] ssh-ed25519 AAAA...`')
    options: dict[str, str] = {}
    for option in re.findall(_OPTION, match["options"] or ""):
        name, _, value = option.partition("=")
        if name.lower() in options:
            raise ValueError(f"option `{name}` stands there twice")
        options[name.lower()] = value.strip('"')
    public = PublicKey.from_line(match["key"])
    if "cert-authority" in options or "-cert-v" in public.algorithm:
        raise ValueError("certificates (`cert-authority`) are not supported")
    if unknown := options.keys() - {"namespaces", "valid-after", "valid-before"}:
        raise ValueError(f"option `{min(unknown)[:32]}` is not known")
    not_before, not_after = _moment(options.get("valid-after")), _moment(options.get("valid-before"))
    if not_before is not None and not_after is not None and not_after <= not_before:
        raise ValueError("`valid-before` is not after `valid-after`")
    return AllowedSigner(
        principals=_patterns(match["quoted"] or match["bare"]),
        public=public,
        namespaces=_patterns(options["namespaces"]) if "namespaces" in options else ANY,
        not_before=not_before,
        not_after=not_after,
    )


def _patterns(text: str) -> tuple[str, ...]:
    found = tuple(text.split(","))
    if len(found) > PATTERNS_MAX or not all(
        0 < len(one.removeprefix("!")) <= PATTERN_LENGTH_MAX and one.isprintable() for one in found
    ):
        raise ValueError(f"`{text[:64]!a}` is not 1 to {PATTERNS_MAX} names or patterns with commas between")
    return found


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    match = _TIME.fullmatch(text)
    if match is None or not YEAR_MIN <= int(match[1]) <= YEAR_MAX:
        raise ValueError(f"time `{text[:32]!a}` is not like `20260131Z` or `20260131093000Z`")
    if not match[7]:
        raise ValueError(f"time `{text}` is in local time, which is not the same everywhere; write `{text}Z`")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[bytes]:
    first, *rest = (re.escape(part).replace(b"\\?", b".") for part in pattern.encode().split(b"*"))
    # Between stars the first place that fits is as good as any, so nothing is tried twice.
    inner = b"".join(b"(?>.*?%b)" % part for part in rest[:-1])
    return re.compile(first + inner + (b".*" + rest[-1] if rest else b""), re.DOTALL)
