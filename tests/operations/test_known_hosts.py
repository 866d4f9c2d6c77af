"""Known hosts are read as OpenSSH and asyncssh read them."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Final

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.operations.errors import ConnectorRefused
from rexecop.operations.known_hosts import known_keys
from tests.needs import needs


def key_of(number: int) -> str:
    """A public key that nobody has the other half of."""
    data = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32
    return f"ssh-ed25519 {b64encode(data).decode()}"


KEYS: Final = [key_of(number) for number in (1, 2, 3)]
PATTERNS: Final = (
    *("db-1", "DB-1", "db-?", "*", "*.example.org", "!db-1,*", "[db-1]:2222", "[db-*]:2222", "db-1,web-1"),
    *("web-1", "10.0.0.*", "!db-2,db-*", "[*]:22"),
)
HOSTS: Final = ("db-1", "db-2", "web-1", "a.example.org", "10.0.0.7")


def fingerprints(keys: list[str]) -> set[str]:
    return {asyncssh.import_public_key(key).get_fingerprint() for key in keys}


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(["", "@cert-authority ", "@revoked "]),
            st.sampled_from([pattern for pattern in PATTERNS if pattern != "DB-1"]),
            st.sampled_from(KEYS),
        ),
        max_size=6,
    ),
    host=st.sampled_from(HOSTS),
    port=st.sampled_from([22, 2222]),
)
def test_the_keys_of_a_host_are_those_that_asyncssh_finds(
    lines: list[tuple[str, str, str]], host: str, port: int
) -> None:
    text = "\n".join(f"{marker}{pattern} {key} a comment" for marker, pattern, key in lines)

    mine = known_keys(text, host, port, "known_hosts")

    oracle = asyncssh.import_known_hosts(text)
    found = oracle.match(host, "", port if port != 22 else None)
    pinned, authorities, revoked = ([key.get_fingerprint() for key in keys] for keys in found[:3])
    assert fingerprints(mine.host_keys) == set(pinned)
    assert fingerprints(mine.authorities) == set(authorities)
    # What was taken back under either name stays so here.
    assert fingerprints(mine.revoked) >= set(revoked)


@needs("ssh-keygen")
def test_hashed_names_are_found_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"db-1 {KEYS[0]}\n[db-1]:2222 {KEYS[1]}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
    text = path.read_text()

    assert "db-1" not in text
    assert known_keys(text, "db-1", 22, "f").host_keys == [KEYS[0]]
    assert known_keys(text, "DB-1", 2222, "f").host_keys == [KEYS[1]]
    assert known_keys(text, "db-1", 3333, "f").host_keys == [KEYS[0]]
    assert known_keys(text, "db-2", 22, "f").host_keys == []


@pytest.mark.parametrize(
    "line", ["db-1", "db-1 ssh-ed25519", "db-1 ssh-ed25519 AAAA", f"@other db-1 {KEYS[0]}", "db-1 ssh-rsa !!"]
)
def test_a_broken_line_about_a_host_is_refused_with_its_place(line: str) -> None:
    with pytest.raises(ConnectorRefused, match="known_hosts:2"):
        known_keys(f"# a comment\n{line}\n", "db-1", 22, "known_hosts")


def test_a_broken_line_about_another_host_does_not_matter() -> None:
    assert known_keys(f"web-1 nonsense\ndb-1 {KEYS[0]}\n", "db-1", 22, "f").host_keys == [KEYS[0]]
