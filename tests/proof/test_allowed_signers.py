"""allowed_signers files say what they say to the real ssh-keygen, or are refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.memory_signer import MemorySigner
from conformance.signers import signer_of
from rexecop.proof import allowed_signers, sshsig
from rexecop.proof.allowed_signers import ANY, AllowedSigner, is_plain, matches, parse, write
from rexecop.proof.errors import AllowedSignersMalformed
from rexecop.proof.verify import TrustedKey
from rexecop.proof.vocabulary import Role
from tests.needs import needs
from tests.proof.processes import exit_code, run

SIGNER: Final = MemorySigner(1)
LINE: Final = SIGNER.public.line
NAMESPACE: Final = "approval@rexecop"
CERTIFICATE: Final = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t"


def one(text: str) -> AllowedSigner:
    (found,) = parse(text.encode())
    return found


def test_a_line_says_who_may_sign_with_which_key_for_what_and_when() -> None:
    text = (
        "# remarks and empty lines are for people\n\n"
        f'mara,*@ops,!otto@ops  namespaces="approval@rexecop,git",valid-after="20260101Z",'
        f'valid-before="20261231235959Z"\t{LINE}   a comment\r\n'
        f'"Mara K." {signer_of("rsa-sha2-512").public.line}'
    )

    assert parse(text.encode()) == (
        AllowedSigner(
            principals=("mara", "*@ops", "!otto@ops"),
            public=SIGNER.public,
            namespaces=("approval@rexecop", "git"),
            not_before=datetime(2026, 1, 1, tzinfo=UTC),
            not_after=datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
        ),
        AllowedSigner(
            principals=("Mara K.",),
            public=signer_of("rsa-sha2-512").public,
            namespaces=ANY,
            not_before=None,
            not_after=None,
        ),
    )
    assert parse(b"") == parse(b"\n# nobody\n") == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (LINE, "not like"),
        ("mara", "not like"),
        (f"mara {LINE.split()[0]}", "not like"),
        (f"mara {LINE}x", "cannot be read"),
        (f"mara cert-authority {LINE}", "certificates"),
        (f'mara CERT-Authority,namespaces="x" {LINE}', "certificates"),
        (f'mara namespaces="x",cert-authority {LINE}', "certificates"),
        (f"mara {CERTIFICATE}", "certificates"),
        (f'mara valid-after="20260101" {LINE}', "local time"),
        (f'mara valid-before="202601011200" {LINE}', "local time"),
        (f'mara valid-before="2026-01-01Z" {LINE}', "not like"),
        (f'mara valid-before="20261301Z" {LINE}', "month"),
        (f'mara valid-before="20260101240000Z" {LINE}', "hour"),
        (f'mara valid-before="00000101Z" {LINE}', "not like"),
        (f'mara valid-before="99990101Z" {LINE}', "not like"),
        (f'mara valid-before="" {LINE}', "not like"),
        (f'mara valid-after="20260102Z",valid-before="20260101Z" {LINE}', "not after"),
        (f'mara valid-after="20260101Z",valid-before="20260101Z" {LINE}', "not after"),
        (f'mara namespaces="a",namespaces="b" {LINE}', "twice"),
        (f'mara namespaces="a",NAMESPACES="b" {LINE}', "twice"),
        (f'mara namespaces="" {LINE}', "names or patterns"),
        (f'mara namespaces="a,,b" {LINE}', "names or patterns"),
        (f"mara namespaces=a {LINE}", "not like"),
        (f'mara namespaces="a {LINE}', "not like"),
        (f'mara namespaces="a\\"b" {LINE}', "not like"),
        (f'mara no-touch-required="yes" {LINE}', "not known"),
        (f"mara no-touch-required {LINE}", "cannot be read"),
        (f"mara,,otto {LINE}", "names or patterns"),
        (f"mara,! {LINE}", "names or patterns"),
        (f'ma"ra {LINE}', "not like"),
        (f'"mara {LINE}', "not like"),
        (f"ma\x07ra {LINE}", "names or patterns"),
        (f"{'x' * 300} {LINE}", "names or patterns"),
        (f"{','.join('x' * 65)} {LINE}", "names or patterns"),
        (f"mara {LINE.replace('ssh-ed25519', 'ssh-rsa')}", "outside"),
        ("mara ssh-ed25519 " + "A" * 20_000, "not one line"),
    ],
    ids=range(36),
)  # fmt: skip
def test_a_line_that_cannot_be_held_to_is_refused_with_its_number_and_why(line: str, why: str) -> None:
    with pytest.raises(AllowedSignersMalformed, match=why) as caught:
        parse(f"# remark\notto {LINE}\n{line}\n".encode())
    assert caught.value.facts["line"] == 3


def test_what_is_no_text_or_too_long_is_refused() -> None:
    for data in (
        b"\xff\xfe",
        b"mara " + b"\xff" + LINE.encode(),
        b"#" * (allowed_signers.FILE_BYTES_MAX + 1),
    ):
        with pytest.raises(AllowedSignersMalformed):
            parse(data)


@pytest.mark.parametrize("end", ["\u2028", "\x0b", "\x0c", "\x85", "\r"])
def test_a_remark_ends_where_ssh_keygen_ends_it_so_that_none_hides_a_line(end: str) -> None:
    assert parse(f"# for people{end}mallory {LINE}\n".encode()) == ()


@given(st.binary(max_size=200), st.sampled_from(["mara ", 'mara namespaces="x" ', '"', "# ", ""]))
def test_any_bytes_are_a_file_or_an_error_of_ours(data: bytes, before: str) -> None:
    for whole in (before.encode() + data, before.encode() + data + LINE.encode()):
        try:
            found = parse(whole)
        except AllowedSignersMalformed:
            continue
        assert parse(write(found).encode()) == found


NAMES: Final = st.text(st.sampled_from("ab@.-é"), min_size=1, max_size=6)
PATTERNS: Final = st.text(st.sampled_from("ab@é*?!"), min_size=1, max_size=8).filter(lambda text: text != "!")
MOMENTS: Final = st.integers(0, 2**34).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(
    st.lists(PATTERNS, min_size=1, max_size=4),
    st.lists(PATTERNS, min_size=1, max_size=3),
    st.none() | MOMENTS,
    st.none() | MOMENTS,
    st.sampled_from(["ssh-ed25519", "ecdsa-sha2-nistp521", "rsa-sha2-512", "sk-ssh-ed25519@openssh.com"]),
)
def test_what_is_written_is_read_again(
    principals: list[str],
    namespaces: list[str],
    not_before: datetime | None,
    not_after: datetime | None,
    suite: str,
) -> None:
    signer = AllowedSigner(
        principals=tuple(principals),
        public=signer_of(suite).public,
        namespaces=tuple(namespaces),
        not_before=not_before,
        not_after=not_after,
    )
    if not_before is None or not_after is None or not_before < not_after:
        assert parse(write((signer, signer)).encode()) == (signer, signer)


# --- patterns ---


@pytest.mark.parametrize(
    ("patterns", "text", "taken"),
    [
        (("mara",), "mara", True),
        (("mara",), "Mara", False),
        (("*",), "", True),
        (("*@ops",), "mara@ops", True),
        (("*@ops",), "mara@dev", False),
        (("m?ra",), "mara", True),
        (("m?ra",), "mra", False),
        (("m??ra",), "m\u00e4ra", True),
        (("*", "!otto"), "otto", False),
        (("!otto", "*"), "otto", False),
        (("!otto",), "mara", False),
        (("m.ra",), "mara", False),
        (("[a-z]*",), "mara", False),
        (("a*b*c",), "a.b.b.c", True),
        (("a*bb*c",), "a.b.c", False),
        (("*ab",), "aab", True),
        (("a*",), "a\nb", True),
    ],
)
def test_patterns_match_as_ssh_config_says(patterns: tuple[str, ...], text: str, taken: bool) -> None:
    assert matches(patterns, text) is taken


@needs("ssh-keygen")
@settings(max_examples=40)
@given(st.lists(PATTERNS, min_size=1, max_size=4), NAMES)
def test_the_real_ssh_keygen_finds_the_same_persons(
    tmp_path_factory: pytest.TempPathFactory, patterns: list[str], name: str
) -> None:
    file = tmp_path_factory.mktemp("allowed") / "file"
    file.write_text(f"{','.join(patterns)} {LINE}\n", encoding="utf-8")
    argv = ("ssh-keygen", "-Y", "match-principals", "-I", name, "-f", str(file))

    assert (exit_code(*argv) == 0) is matches(one(file.read_text(encoding="utf-8")).principals, name)


@given(st.text(max_size=8))
def test_a_plain_name_matches_itself_alone_and_can_be_written(name: str) -> None:
    if is_plain(name):
        assert matches((name,), name) and not matches((name,), name + "x") and not matches((name,), "")
        signer = AllowedSigner(
            principals=(name,), public=SIGNER.public, namespaces=ANY, not_before=None, not_after=None
        )
        assert parse(write((signer,)).encode()) == (signer,)


def test_a_name_with_many_stars_is_judged_at_once() -> None:
    assert not matches(("*a" * 100 + "b",), "a" * 100_000)


# --- the same verdict as ssh-keygen, line by line ---


@needs("ssh-keygen")
@pytest.mark.parametrize(
    ("options", "moment"),
    [
        ("", "20260601000000Z"),
        ('namespaces="approval@rexecop"', "20260601000000Z"),
        ('namespaces="git,approval@*"', "20260601000000Z"),
        ('namespaces="*,!approval@rexecop"', "20260601000000Z"),
        ('namespaces="git"', "20260601000000Z"),
        ('valid-after="20260601Z"', "20260531235959Z"),
        ('valid-after="20260601Z"', "20260601000000Z"),
        ('valid-after="202606010930Z"', "20260601092959Z"),
        ('valid-after="202606010930Z"', "20260601093000Z"),
        ('valid-before="20260601Z"', "20260601000000Z"),
        ('valid-before="20260601Z"', "20260601000001Z"),
        ('valid-before="20260601093015Z"', "20260601093015Z"),
        ('Valid-Before="20260601093015Z"', "20260601093016Z"),
        ('valid-after="20260101Z",valid-before="20270101Z",namespaces="approval@rexecop"', "20260601000000Z"),
        ('valid-after="20260101Z",valid-before="20270101Z",namespaces="approval@rexecop"', "20280601000000Z"),
    ],
)
def test_a_key_counts_for_what_and_when_it_counts_to_ssh_keygen(
    tmp_path: Path, options: str, moment: str
) -> None:
    (tmp_path / "allowed").write_text(f"m*@ops {options} {LINE}\n")
    (tmp_path / "sig").write_text(sshsig.sign(SIGNER, NAMESPACE, b"yes"))
    argv = ("ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "mara@ops")
    more = ("-n", NAMESPACE, "-s", str(tmp_path / "sig"), "-O", f"verify-time={moment}")
    signer = one((tmp_path / "allowed").read_text())
    key = TrustedKey(
        role=Role.APPROVER,
        name="x",
        public=signer.public,
        principals=signer.principals,
        namespaces=signer.namespaces,
        not_before=signer.not_before,
        not_after=signer.not_after,
    )
    at = datetime.strptime(moment, "%Y%m%d%H%M%S%z")

    assert (exit_code(*argv, *more, given=b"yes") == 0) is key.counts(NAMESPACE, at)


@needs("ssh-keygen")
def test_a_name_with_a_space_stands_in_quotes_for_both(tmp_path: Path) -> None:
    signer = AllowedSigner(
        principals=("Mara K.",), public=SIGNER.public, namespaces=ANY, not_before=None, not_after=None
    )
    (tmp_path / "allowed").write_text(write((signer,)))
    (tmp_path / "sig").write_text(sshsig.sign(SIGNER, NAMESPACE, b"yes"))
    argv = ("ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "Mara K.", "-n", NAMESPACE)

    run(*argv, "-s", str(tmp_path / "sig"), given=b"yes")
