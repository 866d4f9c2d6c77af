"""Operations by signed profiles, and plans that say of a signature, or of its publisher, what is not so."""

# ruff: noqa: ANN401 - see worlds

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from conformance.honest import logged
from conformance.memory_signer import MemorySigner
from conformance.tamperings import Case, earns, replace_contents
from conformance.worlds import (
    APPROVER_KEY,
    ENROLMENTS,
    PATHS,
    PROFILE,
    START,
    STRANGER_KEY,
    TRUSTED,
    VALUES,
    Book,
    a_change,
    change_step,
    cut,
    enrol,
    instance_chain,
    read_step,
)
from rexecop.proof import sshsig
from rexecop.proof.bundle import BundleInput
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.publickey import PublicKey
from rexecop.proof.publishing import PROFILE_NAMESPACE, SIGNATURE_ROLE
from rexecop.proof.records import Record
from rexecop.proof.records.decision import Obligations
from rexecop.proof.records.plan import SignedProfile
from rexecop.proof.records.receipt import ObligationMet
from rexecop.proof.signer import Signer
from rexecop.proof.verify import TrustedKey, TrustedKeys
from rexecop.proof.vocabulary import Effect, Role, State, Verdict

PUBLISHER_KEY: Final = MemorySigner(11)
SIGNED: Final = Obligations(signed_profile=True)
KEPT: Final = (ObligationMet(name="signed_profile", met=True, how="by ina"),)
DONE: Final = START + timedelta(hours=2)  # After everything in the story.
DURING: Final = START + timedelta(minutes=30)  # Before everything in it.

Enrol = Callable[[int, Digest | None], Record]


def enrolled(**more: Any) -> Enrol:
    return enrol("ina", Role.PUBLISHER, more.pop("key", PUBLISHER_KEY), **more)


def signed(
    digest: Digest = PROFILE.digest, key: Signer = PUBLISHER_KEY, namespace: str = PROFILE_NAMESPACE
) -> BundleInput:
    return BundleInput(role=SIGNATURE_ROLE, data=sshsig.sign(key, namespace, digest.encode()).encode())


def change(
    found: BundleInput | None,
    *instance: Enrol,
    obligations: Obligations = SIGNED,
    kept: tuple[ObligationMet, ...] = KEPT,
    included: bool = True,
    trust: TrustedKeys = TRUSTED,
    **said: Any,
) -> Case:
    """Return a change whose plan names the signature `found`, where `instance` was enrolled besides."""
    book, look, step = Book("op_signed"), read_step(), change_step()
    book.intent()
    named = None
    if found is not None:
        fields = {"fingerprint": PUBLISHER_KEY.public.fingerprint, "digest": PROFILE.digest, "person": "ina"}
        named = SignedProfile(**{**fields, "signature": found.digest, **said})
    book.plan((look, step), Effect.CHANGE, signed=named)
    book.decision(Verdict.ALLOWED, obligations=obligations)
    book.ticket()
    book.run(look, output=b"old line\n", facts=PATHS)
    book.outcome("set", book.attempt(step, values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED, obligations=kept)
    made = cut(book, instance=instance_chain((*ENROLMENTS, *instance)))
    inputs: Sequence[BundleInput] = made.contents.inputs
    if found is not None and included:
        inputs = sorted((*inputs, found), key=lambda item: (item.role, item.digest))
    return Case(bundle=replace_contents(made, inputs=tuple(inputs)).bundle(), trust=trust)


def knowing(key: Signer) -> TrustedKeys:
    """Return the usual keys, and one of the publisher that the verifier knows by itself."""
    return TrustedKeys(keys=(*TRUSTED.keys, TrustedKey(role=Role.PUBLISHER, name="ina", public=key.public)))


@logged("A change by a profile that an enrolled publisher signed, which policy asked for.")
def signed_profile() -> Case:
    return change(signed(), enrolled())


@logged("The publisher's key is one that the verifier trusts itself.")
def signed_profile_by_a_publisher_the_verifier_knows() -> Case:
    return change(signed(), enrolled(), trust=knowing(PUBLISHER_KEY))


@logged("A signed profile whose bundle goes without the signature: it is not checked.")
def signed_profile_without_its_signature() -> Case:
    return change(signed(), enrolled(), included=False)


@logged("A profile signed by a key that is enrolled for nobody, where nobody asked for a signature.")
def profile_signed_by_nobody_enrolled() -> Case:
    return change(signed(), obligations=Obligations(), kept=(), person=None)


@logged("A publisher's key that was revoked when all was over.")
def signed_profile_whose_key_was_revoked_afterwards() -> Case:
    return change(signed(), enrolled(), enrolled(at=DONE, revoked=True))


@logged("A signature by an algorithm that nobody here can check, by the key that the plan names.")
def signed_profile_by_what_nobody_can_check() -> Case:
    found, public = by_nobody_knows_what()
    key = {"public": public.line, "fingerprint": public.fingerprint}
    return change(found, enrolled(**key), fingerprint=public.fingerprint)


def by_nobody_knows_what() -> tuple[BundleInput, PublicKey]:
    """Return a signature by a key of a type there is none of, and the key."""
    found = sshsig.decode(signed().data.decode())
    public = PublicKey.from_wire(found.public.wire.replace(b"ssh-ed25519", b"ssh-ed25520"))
    blob = found.signature.replace(b"ssh-ed25519", b"ssh-ed25520")
    odd = sshsig.SshSignature(public=public, namespace=PROFILE_NAMESPACE, signature=blob)
    return BundleInput(role=SIGNATURE_ROLE, data=sshsig.encode(odd).encode()), public


@earns("E07ai")
def a_signature_over_another_profile() -> Case:
    return change(signed(digest_of(b"another")), enrolled())


@earns("E07ai")
def a_plan_that_names_another_profile_as_signed() -> Case:
    other = digest_of(b"another")
    return change(signed(other), enrolled(), digest=other)


@earns("E07ai")
def a_signature_of_a_profile_by_another_key_than_named() -> Case:
    return change(signed(key=STRANGER_KEY), enrolled())


@earns("E07ai")
def a_signature_of_a_pack_shown_as_one_of_a_profile() -> Case:
    return change(signed(namespace="policy@rexecop"), enrolled())


@earns("E07ai")
def a_signature_of_a_profile_that_is_none() -> Case:
    return change(BundleInput(role=SIGNATURE_ROLE, data=b"signed, ina"), enrolled())


@earns("E07ai")
def a_signature_of_a_profile_by_what_nobody_can_check_under_the_name_of_another_key() -> Case:
    return change(by_nobody_knows_what()[0], enrolled())


@earns("E07w")
def a_signature_that_no_plan_names() -> Case:
    made = cut(a_change())
    return Case(bundle=replace_contents(made, inputs=(*made.contents.inputs, signed())).bundle())


@earns("E08w")
def a_publisher_who_was_never_enrolled() -> Case:
    return change(signed())


@earns("E08w")
def a_publisher_who_is_only_an_approver() -> Case:
    return change(signed(), enrol("ina", Role.APPROVER, PUBLISHER_KEY))


@earns("E08w")
def a_publisher_under_the_name_of_another() -> Case:
    return change(signed(), enrolled(), person="mara")


@earns("E08w")
def a_publisher_whose_key_had_expired() -> Case:
    return change(signed(), enrolled(expires=DURING))


@earns("E08w")
def a_publisher_whose_key_had_been_revoked() -> Case:
    return change(signed(), enrolled(), enrolled(at=DURING, revoked=True))


@earns("E08w")
def a_publisher_enrolled_after_the_plan() -> Case:
    return change(signed(), enrolled(at=DONE))


@earns("E08w")
def a_profile_that_had_to_be_signed_and_was_not() -> Case:
    return change(None)


@earns("E08w")
def a_profile_that_had_to_be_signed_and_was_by_nobody_enrolled() -> Case:
    return change(signed(), person=None)


@earns("E09h")
def a_receipt_that_is_silent_about_the_signed_profile() -> Case:
    return change(signed(), enrolled(), kept=())


@earns("E04l")
def a_new_key_for_a_publisher_the_verifier_knows() -> Case:
    return change(signed(), enrolled(), trust=knowing(APPROVER_KEY))
