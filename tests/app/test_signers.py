"""Approvers with keys of every kind: enrolled from allowed_signers files, and written down as one again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from conformance.memory_signer import MemorySigner
from conformance.signers import signer_of
from rexecop.app.errors import IdentityRefused
from rexecop.app.identity import identify
from rexecop.app.signers import listing
from rexecop.keys import create_key
from rexecop.proof.allowed_signers import parse
from rexecop.proof.codec import encode
from rexecop.proof.errors import AllowedSignersMalformed, RexecopError, SignatureUnsupported
from rexecop.proof.principal import Principal
from rexecop.proof.records.approval import Approval
from rexecop.proof.trust import Enrolment
from rexecop.proof.verify import Rung
from rexecop.proof.vocabulary import Established, Role
from tests.app.support import change, made, opened, records, scratch, verified
from tests.needs import needs
from tests.proof.processes import exit_code, make_key, run, ssh_agent

NAMESPACE: Final = "approval@rexecop"
ROOT: Final = Principal(person="root", established=Established.OS_USER, credential="uid:0")
SINCE: Final = datetime(2026, 3, 1, 9, 0, 0, 500_000, UTC)
KINDS: Final = [("ed25519", "256"), ("ecdsa", "384"), ("rsa", "3072")]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The socket of a running ssh-agent without keys."""
    path = tmp_path / "agent"
    with ssh_agent(path):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield path


@needs("ssh-keygen", "ssh-agent")
@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("held", ["file", "agent"])
def test_an_approval_by_a_persons_own_ssh_key_counts_here_and_verifies_with_ssh_keygen(
    agent: Path, kind: str, bits: str, held: str
) -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            key = folder / "carols"
            make_key(key, kind, bits)
            (folder / "team").write_text(f"carol {key.with_name('carols.pub').read_text()}")
            with opened(folder, None) as instance:
                (enrolled,) = await instance.keys_trust(folder / "team", "approver")
                assert (enrolled.person, enrolled.role) == ("carol", "approver")
            if held == "agent":
                run("ssh-add", "-q", str(key))
            with opened(folder) as instance:
                operation = (await instance.plan(change(folder))).operation_id
                by_agent = held == "agent"
                view = await instance.approve(operation, key=None if by_agent else key, agent=by_agent)
                assert view.state == "approved"
                done = await instance.start(operation)
                assert done.state == "completed", done.reason
                report = verified(instance, operation)
                assert report.findings == () and report.holds(Rung.LOGGED)
                assert (report.claims.approvals, report.claims.approvals_own) == (1, 1)
                (approval,) = [
                    s.record for s in records(instance, operation) if isinstance(s.record, Approval)
                ]
                (folder / "allowed").write_text(instance.allowed_signers())
            (folder / "sig").write_text(approval.signature)
            statement = encode(approval.statement)
            argv = ("ssh-keygen", "-Y", "verify", "-f", str(folder / "allowed"), "-n", NAMESPACE)
            more = ("-s", str(folder / "sig"), "-I")
            # The file counts whole seconds and may say: from the next one on.
            later = ("-O", f"verify-time={datetime.now(UTC) + timedelta(seconds=2):%Y%m%d%H%M%S}Z")
            run(*argv, *later, *more, "carol", given=statement)
            assert exit_code(*argv, *later, *more, "bob", given=statement) != 0
            assert exit_code(*argv, *later, *more, "carol", given=statement + b" ") != 0

    asyncio.run(story())


LINE: Final = MemorySigner(50).public.line
OTHER: Final = MemorySigner(51).public.line


@pytest.mark.parametrize(
    ("lines", "role", "why"),
    [
        ([f"dora {LINE}", f"*@ops {OTHER}"], "approver", "pattern"),
        ([f"dora {LINE}", f"a?b {OTHER}"], "approver", "pattern"),
        ([f"dora {LINE}", f"!eve {OTHER}"], "approver", "pattern"),
        ([f"dora {LINE}", f'emil namespaces="git" {OTHER}'], "approver", "may not sign"),
        ([f"dora {LINE}", f'emil namespaces="approval@rexecop" {OTHER}'], "requester", "may not sign"),
        ([f"dora {LINE}", f'emil valid-after="20900101Z" {OTHER}'], "approver", "not valid yet"),
        ([f"dora {LINE}", f'emil valid-before="20200101Z" {OTHER}'], "approver", "not valid any more"),
        ([f"dora {LINE}", f"emil cert-authority {OTHER}"], "approver", "line 2"),
        ([f"dora {LINE}", f"emil {LINE}"], "approver", "speaks for `dora`"),
        ([f"dora,emil {LINE}"], "approver", "speaks for `dora`"),
        ([f"dora {LINE}", f'" emil" {OTHER}'], "approver", "person's name"),
        ([f"dora {LINE}", f"{'x' * 200} {OTHER}"], "approver", "person's name"),
        (["# nobody"], "approver", "names nobody"),
        ([f"dora {LINE}"], "instance", "under a name"),
        ([f"dora {LINE}"], "witness", "under a name"),
    ],
    ids=range(15),
)
def test_a_file_is_enrolled_whole_or_not_at_all(lines: list[str], role: str, why: str) -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            (folder / "team").write_text("\n".join(lines))
            with opened(folder, None) as instance:
                before = instance.trusted_keys()
                with pytest.raises((AllowedSignersMalformed, IdentityRefused), match=why):
                    await instance.keys_trust(folder / "team", role)
                assert instance.trusted_keys() == before

    asyncio.run(story())


def test_the_keys_of_a_file_are_enrolled_each_for_its_person_and_until_its_end() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            rsa = signer_of("rsa-sha2-512").public.line
            text = f'# team\ndora valid-before="20900101Z",namespaces="*@rexecop" {LINE}\n"Emil K." {rsa}\n'
            (folder / "team").write_text(text)
            with opened(folder, None) as instance:
                found = await instance.keys_trust(folder / "team", "approver")
                assert [(key.person, key.expires) for key in found] == [
                    ("dora", datetime(2090, 1, 1, tzinfo=UTC)),
                    ("Emil K.", None),
                ]
                # The record knows milliseconds and ends before its expiry; the file ends with a second.
                written = parse(instance.allowed_signers().encode())
                dora = next(one for one in written if one.principals == ("dora",))
                assert (dora.public.line, dora.namespaces) == (LINE, (NAMESPACE,))
                assert dora.not_after == datetime(2089, 12, 31, 23, 59, 59, tzinfo=UTC)
                assert ("Emil K.",) in [one.principals for one in written]

    asyncio.run(story())


@pytest.mark.parametrize("role", ["instance", "witness", "node"])
def test_keys_that_sign_for_machines_are_ed25519_from_the_day_they_are_enrolled(role: str) -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder, None) as instance:
                before = instance.trusted_keys()
                with pytest.raises(SignatureUnsupported):
                    await instance.key_trust(signer_of("rsa-sha2-512").public.line, "x", role)
                assert instance.trusted_keys() == before

    asyncio.run(story())


def enrolment(person: str, seed: int, **more: object) -> Enrolment:
    public = MemorySigner(seed).public
    fields: dict[str, object] = {
        "person": person,
        "role": Role.APPROVER,
        "public": public.line,
        "fingerprint": public.fingerprint,
        "by": ROOT,
        "since": SINCE,
        "expires": None,
        "revoked": None,
    }
    return Enrolment(**(fields | more))  # type: ignore[arg-type]


def test_the_list_of_approvers_holds_no_key_longer_than_it_was_good() -> None:
    hour = timedelta(hours=1)
    text = listing(
        [
            enrolment("bob", 1),
            enrolment("carol", 2, revoked=SINCE + hour),
            enrolment("dora", 3, expires=SINCE + 2 * hour, revoked=SINCE + hour),
            enrolment("erased", 4, revoked=SINCE + timedelta(milliseconds=400)),
            enrolment("a*b", 5),
            enrolment("jan", 6, role=Role.REQUESTER),
            enrolment("instance", 7, role=Role.INSTANCE),
        ]
    )

    first, ended = datetime(2026, 3, 1, 9, 0, 1, tzinfo=UTC), datetime(2026, 3, 1, 10, 0, 0, tzinfo=UTC)
    assert [(one.principals[0], one.not_before, one.not_after) for one in parse(text.encode())] == [
        ("bob", first, None),
        ("carol", first, ended),
        ("dora", first, ended),
    ]
    assert [line for line in text.splitlines() if line.startswith("#") and "a*b" in line]
    assert listing([]) == ""


def test_an_expired_key_establishes_nobody(tmp_path: Path) -> None:
    signer = create_key(tmp_path / "id", "")
    until = SINCE + timedelta(hours=1)
    mine = enrolment(
        "jan",
        1,
        role=Role.REQUESTER,
        public=signer.public.line,
        fingerprint=signer.public.fingerprint,
        expires=until,
    )

    assert identify(tmp_path / "id", (mine,), until - timedelta(seconds=1)).principal.person == "jan"
    with pytest.raises(RexecopError) as caught:
        identify(tmp_path / "id", (mine,), until)
    assert caught.value.code == "identity-refused"
