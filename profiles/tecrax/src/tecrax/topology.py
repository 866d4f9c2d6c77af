"""What a repository must not tell: keys, tokens, and where things are on somebody's site.

Every tracked file is read, whatever its name ends in. Names and addresses that standards set
aside for documentation tell nothing, and neither do those of every machine.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from math import log2
from pathlib import Path
from typing import Final

from rexecop.lanes.errors import ProgramFailed
from rexecop.lanes.program import run

BYTES_MAX: Final = 16 << 20  # Of one file; a larger one is named, for nobody looked into it.
LISTED_BYTES_MAX: Final = 64 << 20  # Of the names of all tracked files.
ENTROPY_LEAST: Final = 3.5  # Bits for a character: words have less, keys have more.

_KEYS: Final = {
    "private-key": (
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"|AGE-SECRET-KEY-1[0-9A-Z]{20,}|PuTTY-User-Key-[F]ile-"
    ),
    "cloud-token": (
        r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}\b|AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,}"
        r"|gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{40,}|glpat-[0-9A-Za-z_-]{20,}"
        r"|xox[abeoprs]-[0-9A-Za-z-]{10,}|sk_live_[0-9A-Za-z]{20,}|sk-(?:[a-z]+-)?[0-9A-Za-z_-]{32,}"
        r"|npm_[0-9A-Za-z]{36}|hv[sb]\.[0-9A-Za-z_-]{24,}|dop_v1_[0-9a-f]{64}"
        r"|AccountKey=[0-9A-Za-z+/=]{40,}|eyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{20,})"
    ),
    "home-path": (
        r"(?:/home/|/Users/|[A-Z]:\\Users\\)"
        r"(?!(?:users?|you|me|name|NAME|runner|example|alice|bob|mara)\b)"
        r"[a-z_][A-Za-z0-9_.-]{0,31}(?=[/\\])|/root/\.ssh\b"
    ),
}
_ASSIGNED: Final = (
    r"(?i:password|passwd|passphrase|token|secret|api_?key|access_?key)[\"']?[ \t]{0,4}"
    r"[:=][ \t]{0,4}[\"']?([A-Za-z0-9+/_.~-]{16,200})"
)
_IPV4: Final = r"(?<![\w.])((?:[0-9]{1,3}\.){3}[0-9]{1,3})(?![\w]|\.[0-9])"
_IPV6: Final = r"(?<![\w:.])((?:[0-9A-Fa-f]{1,4}:|:){2,7}(?:[0-9A-Fa-f]{1,4})?)(?![\w:.])"
_MAC: Final = r"(?<![\w:-])([0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\2[0-9A-Fa-f]{2}){4})(?![\w:-])"
# RFC 5737, RFC 3849, RFC 9637, RFC 7042, and what is the same on every machine and in every cloud.
_FREE: Final = tuple(
    map(ip_network, (
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "127.0.0.0/8", "224.0.0.0/3"),
        *("169.254.169.0/24", "169.254.170.2/32", "100.100.100.200/32", "2001:db8::/32", "3fff::/20"),
    ))
)  # fmt: skip
_OF_SITES: Final = tuple(map(ip_network, ("2000::/3", "fc00::/7", "fe80::/10")))
_FIRST_LEAST: Final = 10  # Below it are the numbers of versions, sections and object identifiers.
_MAC_FREE: Final = ("00005e0053", "00005e9010", "0000000000", "ffffffffff")


@dataclass(frozen=True, slots=True, order=True)
class Leak:
    """What line `line` of `path` tells that it must not; what was found is not repeated."""

    path: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}"


def tracked(root: Path) -> list[Path]:
    """Return every file below `root` that Git tracks; all of them where it is no checkout."""
    argv = ("git", "-C", str(root), "ls-files", "-z")
    try:
        asked = run(argv, stdin=b"", environ={"PATH": os.defpath}, output_bytes=LISTED_BYTES_MAX)
    except ProgramFailed:  # There is no Git.
        asked = None
    if asked is not None and not asked.returncode:
        found = [root / name for name in asked.stdout.decode("utf-8", "surrogateescape").split("\0") if name]
    else:
        found = sorted(root.rglob("*"))
    return [path for path in found if path.is_file() and not path.is_symlink()]


def leaks_below(root: Path) -> Iterator[Leak]:
    """Yield what the files below `root` tell."""
    for path in tracked(root):
        name = str(path.relative_to(root))
        if path.stat().st_size > BYTES_MAX:
            yield Leak(name, 0, "too-large")
        else:
            yield from sorted(set(leaks_in(name, path.read_bytes().decode("utf-8", "replace"))))


def leaks_in(name: str, text: str) -> Iterator[Leak]:
    """Yield what `text`, the file `name`, tells."""
    for kind, pattern, is_told in _RULES:
        for found in pattern.finditer(text):
            if is_told(found[1] if found.re.groups else found[0]):
                yield Leak(name, text.count("\n", 0, found.start()) + 1, kind)


def unexcused(leaks: Iterable[Leak], excused: Iterable[str]) -> Iterator[str]:
    """Yield in words each leak that no line `PATH KIND` of `excused` is about, and lines about nothing."""
    wanted = {" ".join(line.partition("#")[0].split()) for line in excused} - {""}
    used = set()
    for leak in leaks:
        if (name := f"{leak.path} {leak.kind}") in wanted:
            used.add(name)
        else:
            yield str(leak)
    yield from (f"nothing is left to excuse by `{name}`" for name in sorted(wanted - used))


def _is_address_of_a_site(word: str) -> bool:
    try:
        address = ip_address(word)
    except ValueError:
        return False
    if any(address in network for network in _FREE):
        return False
    if isinstance(address, IPv4Address):
        return address.packed[0] >= _FIRST_LEAST
    return any(address in network for network in _OF_SITES)


def _is_mac_of_a_site(word: str) -> bool:
    return not re.sub("[:-]", "", word).lower().startswith(_MAC_FREE)


def _is_random(word: str) -> bool:
    """Return whether `word` looks drawn by lot: letters and digits, and no word of a language."""
    mixed = re.search(r"[0-9]", word) and re.search(r"[A-Za-z]", word)
    shares = [word.count(char) / len(word) for char in set(word)]
    return bool(mixed) and -sum(share * log2(share) for share in shares) >= ENTROPY_LEAST


def _always(_word: str) -> bool:
    return True


_RULES: Final[tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...]] = (
    *((kind, re.compile(pattern), _always) for kind, pattern in _KEYS.items()),
    ("secret-assigned", re.compile(_ASSIGNED), _is_random),
    ("ipv4-address", re.compile(_IPV4), _is_address_of_a_site),
    ("ipv6-address", re.compile(_IPV6), _is_address_of_a_site),
    ("mac-address", re.compile(_MAC), _is_mac_of_a_site),
)
