"""Signed profiles: written, read whatever lies there, asked for at every gate, shown in evidence."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rexecop.app.observing as observing
from conformance.memory_signer import MemorySigner
from rexecop.app.errors import FileMissing, FileRefused
from rexecop.app.evidence import Asked
from rexecop.app.instance import Instance
from rexecop.app.observing import Observing
from rexecop.app.offline import new_profile
from rexecop.app.planner import PlanInput
from rexecop.app.profiles import built_in_folder
from rexecop.app.publishing import sign_profile, signature_of
from rexecop.app.views import OperationView
from rexecop.governance.admission import Answer
from rexecop.keys import create_key
from rexecop.keys.errors import KeyFileMissing
from rexecop.operations.errors import ProfileRefused, ProfileUnknown
from rexecop.operations.fold import Operation
from rexecop.operations.pinned_files import read_signature
from rexecop.proof import sshsig
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.publishing import PROFILE_NAMESPACE, SIGNATURE_ROLE
from rexecop.proof.records.decision import PolicyRequest
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.verify import parse_trust, verify
from tests.app.support import asked, bob, change, greeting, made, opened, records, scratch, verified

ASKS = '@id("signed-only")\n@obligations("signed_profile")\npermit (principal, action, resource);\n'
NOWHERE = Path("/nowhere/root")
DIGEST = digest_of(b"a profile")
KEY = MemorySigner(1)
GOOD = sshsig.sign(KEY, PROFILE_NAMESPACE, DIGEST.encode()).encode()


def require(folder: Path, rule: str = ASKS) -> None:
    """Let policy ask for signed profiles."""
    path = folder / "root" / "policy" / "starter" / "requirements" / "signed.cedar"
    path.write_text(rule)
    path.chmod(0o600)


def profile(folder: Path) -> Path:
    """Return a copy of the profile that comes with the program, which somebody could publish."""
    path = folder / "mine"
    if not path.exists():
        shutil.copytree(built_in_folder(), path)
    return path


def mine(folder: Path, asks: PlanInput | None = None) -> PlanInput:
    return replace(asks or asked(folder, "host_facts", "read_only"), profile=str(profile(folder)))


async def publisher(folder: Path, name: str = "ina", expires: str | None = None) -> str:
    """Enrol a publisher whose key is `folder/name`, and return its fingerprint."""
    with opened(folder, None) as instance:
        return (await instance.key_new(name, "publisher", folder / name, expires)).fingerprint


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as found:
        asyncio.run(made(found))
        yield found


async def planned(folder: Path, asks: PlanInput | None = None) -> OperationView:
    with opened(folder) as instance:
        return await instance.plan(mine(folder, asks))


def plan_of(instance: Instance, operation: str) -> Plan:
    return next(one.record for one in records(instance, operation) if isinstance(one.record, Plan))


def keygen(text: str, *words: str) -> bytes:
    """Return what `ssh-keygen -Y` with `words` says of `text`."""
    given = ["ssh-keygen", "-Y", *words]
    return subprocess.run(given, input=text.encode(), capture_output=True, timeout=20, check=True).stdout


# --- writing and reading ---


def test_a_publisher_needs_no_root_and_openssh_takes_the_signature_and_gives_one(tmp_path: Path) -> None:
    new_profile(tmp_path / "site")
    name, key = str(tmp_path / "site"), tmp_path / "key"
    create_key(key, "ina")
    assert signature_of(name, None, NOWHERE).state == "unsigned"

    sign_profile(name, key)

    found = signature_of(name, None, NOWHERE)
    assert (found.state, found.person) == ("unknown", None) and "no root here" in found.says
    trust = tmp_path / "trust"
    trust.mkdir()
    shutil.copy(tmp_path / "key.pub", trust / "publisher-ina.pub")
    assert (signature_of(name, trust, NOWHERE).state, signature_of(name, trust, NOWHERE).person) == (
        "trusted",
        "ina",
    )
    signers = tmp_path / "signers"
    signers.write_text(f"ina {(tmp_path / 'key.pub').read_text()}")
    sig = tmp_path / "site" / "profile.sig"
    checking = ("verify", "-f", str(signers), "-I", "ina", "-n", PROFILE_NAMESPACE, "-s", str(sig))
    assert b"Good" in keygen(found.digest, *checking)
    sig.write_bytes(keygen(found.digest, "sign", "-n", PROFILE_NAMESPACE, "-f", str(key)))
    assert signature_of(name, trust, NOWHERE).state == "trusted"


def test_the_signature_is_no_part_of_what_it_is_over_and_everything_that_decides_is(tmp_path: Path) -> None:
    new_profile(tmp_path / "site")
    name, key = str(tmp_path / "site"), tmp_path / "key"
    create_key(key, "ina")
    before = signature_of(name, None, NOWHERE).digest
    sign_profile(name, key)
    assert signature_of(name, None, NOWHERE).digest == before

    (tmp_path / "site" / "docs" / "more.md").write_text("for people\n")
    assert signature_of(name, None, NOWHERE).state == "unknown"
    rules = tmp_path / "site" / "validation_rules" / "check_memory.yaml"
    rules.write_text(rules.read_text() + "# and more\n")
    found = signature_of(name, None, NOWHERE)
    assert found.state == "wrong" and "no signature of this profile" in found.says
    assert found.next == (f"rexecop profile sign {name} --key FILE",)


def test_what_cannot_be_signed_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    new_profile(tmp_path / "site")
    site, key = tmp_path / "site", tmp_path / "key"
    create_key(key, "ina")
    with pytest.raises(FileRefused, match="comes with the program"):
        sign_profile("hello", key)
    with pytest.raises(ProfileUnknown):
        sign_profile(str(tmp_path / "none"), key)
    with pytest.raises(KeyFileMissing):
        sign_profile(str(site), tmp_path / "none")
    (site / "validation_rules" / "check_memory.yaml").unlink()
    with pytest.raises(ProfileRefused, match=r"intents/check_memory\.yaml:"):
        sign_profile(str(site), key)
    assert not (site / "profile.sig").exists()
    shutil.rmtree(site)
    new_profile(site)
    (site / "profile.sig").mkdir()
    with pytest.raises(FileRefused, match="cannot be written"):
        sign_profile(str(site), key)
    assert not list(site.glob("*.part"))


def test_a_folder_of_trust_that_is_not_there_is_an_error_and_one_without_publishers_trusts_none(
    tmp_path: Path,
) -> None:
    new_profile(tmp_path / "site")
    create_key(tmp_path / "key", "ina")
    sign_profile(str(tmp_path / "site"), tmp_path / "key")
    with pytest.raises(FileMissing):
        signature_of(str(tmp_path / "site"), tmp_path / "none", NOWHERE)
    trust = tmp_path / "trust"
    trust.mkdir()
    shutil.copy(tmp_path / "key.pub", trust / "issuer-ina.pub")
    assert signature_of(str(tmp_path / "site"), trust, NOWHERE).state == "untrusted"


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_no_bytes_but_a_signature_name_a_key(data: bytes) -> None:
    found = read_signature({"profile.sig": data}, DIGEST)

    assert found.key is None and found.problem is not None
    assert found.problem.isprintable() and len(found.problem) < 400


@given(at=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255), more=st.binary(max_size=3))
def test_a_signature_that_was_touched_names_its_key_or_none(at: int, byte: int, more: bytes) -> None:
    touched = GOOD[:at] + bytes([byte]) + more + GOOD[at + 1 :]
    found = read_signature({"profile.sig": touched}, DIGEST)

    assert found.key in (None, KEY.key_id)
    assert (found.key is None) is (found.problem is not None)


@given(st.binary(min_size=1, max_size=40))
def test_a_signature_over_something_else_is_none(other: bytes) -> None:
    found = read_signature({"profile.sig": GOOD}, digest_of(other))

    assert found.key is None


# --- asked for by policy ---


def garbled(folder: Path) -> None:
    (profile(folder) / "profile.sig").write_bytes(b"\xff\x00 signed, ina")


def too_long(folder: Path) -> None:
    (profile(folder) / "profile.sig").write_bytes(GOOD * 200)


def of_a_pack(folder: Path) -> None:
    digest = signature_of(str(profile(folder)), None, NOWHERE).digest
    armored = sshsig.sign(MemorySigner(3), "policy@rexecop", digest.encode())
    (profile(folder) / "profile.sig").write_text(armored)


def of_another(folder: Path) -> None:
    (profile(folder) / "profile.sig").write_bytes(GOOD)


def foreign(folder: Path) -> None:
    create_key(folder / "eve", "eve")
    sign_profile(str(profile(folder)), folder / "eve")


def an_issuers(folder: Path) -> None:
    async def enrol() -> None:
        with opened(folder, None) as instance:
            await instance.key_new("iris", "issuer", folder / "iris")

    asyncio.run(enrol())
    sign_profile(str(profile(folder)), folder / "iris")


def changed_since(folder: Path) -> None:
    asyncio.run(publisher(folder))
    sign_profile(str(profile(folder)), folder / "ina")
    (profile(folder) / "profile.yaml").write_text((profile(folder) / "profile.yaml").read_text() + "# x\n")


def revoked(folder: Path) -> None:
    key = asyncio.run(publisher(folder))
    sign_profile(str(profile(folder)), folder / "ina")

    async def revoke() -> None:
        with opened(folder, None) as instance:
            await instance.key_revoke(key)

    asyncio.run(revoke())


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        (lambda folder: None, "and it is not"),
        (garbled, "signature is not one block"),
        (too_long, "signature is not one block"),
        (of_a_pack, "was made for `policy@rexecop`"),
        (of_another, "no signature of this profile"),
        (changed_since, "no signature of this profile"),
        (foreign, "enrolled for nobody who publishes profiles"),
        (an_issuers, "enrolled for nobody who publishes profiles"),
        (revoked, "was revoked"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_whatever_is_not_signed_by_an_enrolled_publisher_is_denied_in_one_line(
    folder: Path, sign: Callable[[Path], None], words: str
) -> None:
    sign(folder)
    require(folder)
    view = asyncio.run(planned(folder))

    assert view.state == "blocked" and view.decision is not None
    said = view.decision.reason
    assert said.startswith("the profile has to be signed, ") and words in said, said
    assert said.endswith("`rexecop profile verify PROFILE`") and "\n" not in said
    with opened(folder) as instance:
        assert verified(instance, view.operation_id).findings == ()
        with opened(folder) as another:
            assert "signed_profile" in str(another.why(view.operation_id).lines) or words in str(
                another.why(view.operation_id).lines
            )


def test_an_expired_key_signs_nothing_any_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        await publisher(folder, expires="2999-01-01")
        sign_profile(str(profile(folder)), folder / "ina")
        require(folder)
        with opened(folder) as instance:
            view = await instance.plan(mine(folder))
            assert view.state == "approved"
            authority = instance.parts.authority
            ended = tuple(
                replace(one, expires=one.since + timedelta(milliseconds=1)) for one in authority.enrolments()
            )
            monkeypatch.setattr(type(authority), "enrolments", lambda self: ended)
            stopped = await instance.start(view.operation_id)
            assert stopped.state == "blocked" and "has expired" in str(stopped.reason)

    asyncio.run(story())


def test_what_a_publisher_signed_runs_and_plan_preview_receipt_and_bundle_say_who(folder: Path) -> None:
    async def story() -> None:
        key = await publisher(folder)
        sign_profile(str(profile(folder)), folder / "ina")
        require(folder)
        with opened(folder) as instance:
            view = await instance.plan(mine(folder, change(folder)))
            await instance.approve(view.operation_id, key=bob(folder))
            done = await instance.start(view.operation_id)
            assert done.state == "completed" and greeting(folder) == "good evening\n"
            plan = plan_of(instance, view.operation_id)
            assert plan.signed is not None
            assert (plan.signed.person, plan.signed.fingerprint) == ("ina", key)
            assert plan.signed.digest == plan.profile
            shown = instance.preview(view.operation_id)
            assert f"signed by       ina with key {key}\n" in shown and str(plan.signed.signature) in shown
            receipt = records(instance, view.operation_id)[-1].record
            assert isinstance(receipt, Receipt)
            kept = {one.name: one for one in receipt.obligations}["signed_profile"]
            assert kept.met and "ina" in kept.how
            assert verified(instance, view.operation_id).findings == ()
            asks = Asked(form="report", path=folder / "report.html")
            instance.parts.evidence.export(view.operation_id, asks, instance.parts.world.clock.now())
            assert key in (folder / "report.html").read_text()
            data = instance.parts.evidence.bundle(view.operation_id)
            public = {"instance.pub": instance.parts.world.signer.public.line.encode()}
            own = {**public, "publisher-ina.pub": (folder / "ina.pub").read_bytes()}
            known, unknown = verify(data, parse_trust(own)), verify(data, parse_trust(public))
            named = "whose key signed the profile"
            assert known.findings == unknown.findings == ()
            assert named not in {one.what for one in known.not_checked}
            assert named in {one.what for one in unknown.not_checked}
            assert f"inputs/{SIGNATURE_ROLE}/".encode() in data

    asyncio.run(story())


def test_a_key_revoked_after_the_plan_stops_its_ticket(folder: Path) -> None:
    async def story() -> None:
        key = await publisher(folder)
        sign_profile(str(profile(folder)), folder / "ina")
        require(folder)
        with opened(folder) as instance:
            view = await instance.plan(mine(folder))
            await instance.key_revoke(key)
            stopped = await instance.start(view.operation_id)
            assert (stopped.state, "was revoked" in str(stopped.reason)) == ("blocked", True)
            assert verified(instance, view.operation_id).findings == ()

    asyncio.run(story())


def test_terms_that_asked_for_a_signature_hold_although_the_pack_does_not_ask_any_more(folder: Path) -> None:
    async def story() -> None:
        key = await publisher(folder)
        sign_profile(str(profile(folder)), folder / "ina")
        require(folder)
        with opened(folder) as instance:
            view = await instance.plan(mine(folder))
            require(folder, "// nothing\n")
            await instance.key_revoke(key)
            stopped = await instance.start(view.operation_id)
            assert stopped.state == "blocked"
            assert verified(instance, view.operation_id).findings == ()

    asyncio.run(story())


def test_a_pack_that_comes_to_ask_for_it_stops_what_was_planned_unsigned(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            view = await instance.plan(mine(folder))
            assert view.state == "approved" and plan_of(instance, view.operation_id).signed is None
            require(folder)
            stopped = await instance.start(view.operation_id)
            assert (stopped.state, "it is not" in str(stopped.reason)) == ("blocked", True)

    asyncio.run(story())


def test_a_pack_that_comes_to_ask_for_what_is_there_goes_on_and_the_receipt_says_so(folder: Path) -> None:
    async def story() -> None:
        await publisher(folder)
        sign_profile(str(profile(folder)), folder / "ina")
        with opened(folder) as instance:
            view = await instance.plan(mine(folder))
            require(
                folder, ASKS.replace("signed_profile", "signed_profile, output_digest, redaction=secrets")
            )
            done = await instance.start(view.operation_id)
            receipt = records(instance, view.operation_id)[-1].record
            assert done.state == "completed" and isinstance(receipt, Receipt)
            assert "signed_profile" in {one.name for one in receipt.obligations}
            assert verified(instance, view.operation_id).findings == ()
            asks = Asked(form="report", path=folder / "report.html")
            instance.parts.evidence.export(view.operation_id, asks, instance.parts.world.clock.now())
            page = (folder / "report.html").read_text()
            assert "work by a profile that an enrolled publisher signed" in page and "redaction: " in page

    asyncio.run(story())


def test_a_key_revoked_while_somebody_outside_is_asked_gives_no_ticket(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        key = await publisher(folder)
        sign_profile(str(profile(folder)), folder / "ina")
        require(folder)
        with opened(folder) as instance:
            view = await instance.plan(mine(folder))

            async def slow(opinions: object, answer: Answer, request: PolicyRequest) -> Answer:
                await instance.key_revoke(key)
                return answer

            monkeypatch.setattr("rexecop.engines.driver.consult", slow)
            stopped = await instance.start(view.operation_id)
            assert (stopped.state, "was revoked" in str(stopped.reason)) == ("blocked", True)

    asyncio.run(story())


def test_undoing_by_a_profile_whose_key_was_revoked_is_denied_and_nothing_is_done(folder: Path) -> None:
    async def story() -> None:
        key = await publisher(folder)
        sign_profile(str(profile(folder)), folder / "ina")
        require(folder)
        with opened(folder) as instance:
            view = await instance.plan(mine(folder, change(folder)))
            await instance.approve(view.operation_id, key=bob(folder))
            await instance.start(view.operation_id)
            await instance.key_revoke(key)
            undone = await instance.rollback(view.operation_id, reason="not wanted")
            assert greeting(folder) == "good evening\n"
            assert undone.state == "failed" and "was revoked" in str(
                records(instance, view.operation_id)[-2:]
            )
            assert verified(instance, view.operation_id).findings == ()

    asyncio.run(story())


@pytest.mark.parametrize("revoking", [True, False])
def test_before_every_change_the_key_is_asked_for_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, revoking: bool
) -> None:
    """What it rests on is observed once more before the change; meanwhile somebody revokes the key."""
    monkeypatch.setattr(observing, "FRESH", timedelta(0))
    again = Observing.again

    async def story() -> None:
        key = await publisher(folder)
        sign_profile(str(profile(folder)), folder / "ina")
        require(folder)
        seen: list[str] = []

        async def observed(self: Observing, op: Operation) -> tuple[Operation, Operation]:
            found = await again(self, op)
            seen.append(found[1].id)
            if revoking:
                with opened(folder, None) as another:
                    await another.key_revoke(key)
            return found

        monkeypatch.setattr(Observing, "again", observed)
        with opened(folder) as instance:
            was = greeting(folder)
            view = await instance.plan(mine(folder, change(folder)))
            await instance.approve(view.operation_id, key=bob(folder))
            done = await instance.start(view.operation_id)

            assert verified(instance, view.operation_id).findings == ()
            looked = plan_of(instance, seen[0]).signed
            assert looked is not None and looked.person == "ina"
            assert verified(instance, seen[0]).findings == ()
            if revoking:
                assert (done.state, greeting(folder)) == ("failed", was)
                assert "policy_denied" in {step.error_class for step in done.steps}
                assert "was revoked" in str([step.message for step in done.steps])
            else:
                assert (done.state, greeting(folder)) == ("completed", "good evening\n")

    asyncio.run(story())


def test_where_nobody_asks_a_foreign_signature_stands_in_the_plan_and_a_wrong_one_in_its_notes(
    folder: Path,
) -> None:
    foreign(folder)
    view = asyncio.run(planned(folder))
    with opened(folder) as instance:
        signed = plan_of(instance, view.operation_id).signed
        assert view.state == "approved" and signed is not None and signed.person is None
        assert "signed by       nobody enrolled with key" in instance.preview(view.operation_id)
        assert verified(instance, view.operation_id).findings == ()
    garbled(folder)
    view = asyncio.run(planned(folder))
    with opened(folder) as instance:
        plan = plan_of(instance, view.operation_id)
        assert plan.signed is None and "no signature" in str((plan.notes or {})["profile_signature"])


def test_a_signature_is_read_anew_when_it_comes_or_goes_while_an_instance_is_open(folder: Path) -> None:
    async def story() -> None:
        await publisher(folder)
        with opened(folder) as instance:
            first = await instance.plan(mine(folder))
            sign_profile(str(profile(folder)), folder / "ina")
            second = await instance.plan(mine(folder))
            (profile(folder) / "profile.sig").unlink()
            third = await instance.plan(mine(folder))
            found = [plan_of(instance, view.operation_id).signed for view in (first, second, third)]
            assert [one is not None for one in found] == [False, True, False]

    asyncio.run(story())


def test_a_damaged_chain_of_the_instance_trusts_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rexecop.engines.errors import JournalDamaged

    async def story() -> None:
        await publisher(folder)
        sign_profile(str(profile(folder)), folder / "ina")
        require(folder)
        with opened(folder, None) as instance:

            def lost(self: object) -> tuple[()]:
                raise JournalDamaged("a record cannot be read", n=1)

            monkeypatch.setattr(type(instance.parts.authority), "enrolments", lost)
            view = await instance.plan(mine(folder))
            assert view.state == "blocked" and "not known" in str(view.reason)

    asyncio.run(story())


def test_the_root_says_of_a_profile_what_it_would_at_a_plan(folder: Path) -> None:
    root = folder / "root"
    foreign(folder)
    assert signature_of(str(profile(folder)), None, root).state == "untrusted"
    revoked(folder)
    found = signature_of(str(profile(folder)), None, root)
    assert (found.state, "was revoked" in found.says) == ("untrusted", True)
    asyncio.run(publisher(folder, "zoe"))
    sign_profile(str(profile(folder)), folder / "zoe")
    found = signature_of(str(profile(folder)), None, root)
    assert (found.state, found.person, found.since is not None, found.next) == ("trusted", "zoe", True, ())


def test_the_digest_that_is_signed_is_the_one_that_plans_pin(folder: Path) -> None:
    view = asyncio.run(planned(folder))
    with opened(folder) as instance:
        pinned = plan_of(instance, view.operation_id).profile
    assert signature_of(str(profile(folder)), None, NOWHERE).digest == Digest(pinned)
