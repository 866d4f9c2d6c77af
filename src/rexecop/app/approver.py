"""An approver and their key, on any machine: choosing the key, and answering a request in a file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from rexecop.app.clock import SystemClock, SystemIds
from rexecop.app.errors import FileRefused, IdentityRefused
from rexecop.app.files import read_file, write_new
from rexecop.app.identity import enrolled
from rexecop.governance.approvals import approval_statement
from rexecop.governance.errors import ApprovalNotAsked, ApproverUnknown, NothingToWithdraw
from rexecop.governance.requests import (
    REQUEST_BYTES_MAX,
    ApprovalAnswer,
    ApprovalRequest,
    read_request,
    signed_in_words,
)
from rexecop.keys import agent_signers, load_ssh_signer
from rexecop.proof.call import call_digest
from rexecop.proof.codec import encode
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.principal import Principal
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, ApprovalStatement
from rexecop.proof.signer import Signer
from rexecop.proof.sshsig import sign
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Established, Role

ANSWER_BYTES_MAX: Final = 64 * 1024  # A statement and a signature; the reason is a few lines.
APPROVAL_VALID: Final = timedelta(hours=24)  # What was looked at yesterday is looked at again.


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person says: yes, no, or that they take back what they said; of one `step` if it is named.

    With `behalf` it is the vote of that person.
    """

    approves: bool = True
    withdraws: bool = False
    reason: str | None = None
    step: str | None = None
    behalf: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A statement about to be signed by `signer`, and everything it says as text."""

    request: ApprovalRequest
    statement: ApprovalStatement
    signer: Signer

    @property
    def text(self) -> str:
        """The preview, and below it every field that is signed."""
        signs = signed_in_words(self.request, self.statement)
        return f"{self.request.preview}\nwhat you sign\n{signs}"

    def write(self, path: Path) -> None:
        """Sign, and write the answer to a new file.

        Raises:
            FileRefused: there is one already. RootUnwritable: it cannot be written.
        """
        signature = sign(self.signer, APPROVAL_NAMESPACE, encode(self.statement))
        answer = ApprovalAnswer(statement=self.statement, signature=signature)
        if not write_new(path, encode(answer) + b"\n", mode=0o644):
            steps = ("rexecop approve --request FILE --output ANOTHER",)
            raise FileRefused(f"`{path}` is there already", path=str(path), next_steps=steps)


def prepare(path: Path, *, key: Path | None, agent: bool, environ: Mapping[str, str], word: Word) -> Prepared:
    """Return what saying `word` to the request in the file `path` would sign; no root is needed.

    Raises:
        RequestMalformed, ApprovalNotAsked: the file is no request that can be answered.
        ApproverUnknown: the request does not name the key. NothingToWithdraw: nothing of theirs stands.
        IdentityRefused, KeyRefused: there is no key to sign with.
    """
    request = read_request(read_file(path, bytes_max=REQUEST_BYTES_MAX))
    by_key = {one.fingerprint: one for one in request.approvers}
    signer = signer_of(key, agent, environ, by_key)
    fingerprint = signer.public.fingerprint
    if (me := by_key.get(fingerprint)) is None:
        text = f"the request names no approver with key `{fingerprint}`"
        steps = ("rexecop keys trust FILE.pub --person NAME --role approver",)
        raise ApproverUnknown(text, fingerprint=fingerprint, next_steps=steps)
    if word.step != request.step:
        about = "the whole plan" if request.step is None else f"step `{request.step:.64}`"
        more = "" if request.step is None else f" --step {request.step:.64}"
        steps = (f"rexecop approve --request {path}{more} --key FILE",)
        raise ApprovalNotAsked(f"the request is about {about}", next_steps=steps)
    if word.withdraws and me.given is None:
        raise NothingToWithdraw(f"`{me.person}` has said nothing that stands, as of the request")
    intent, plan = request.sealed
    statement = approval_statement(
        plan=plan,
        terms=request.terms,
        preview=preview_digest(preview(intent, plan)),
        approver=Principal(person=me.person, established=Established.KEY, credential=fingerprint),
        approves=word.approves,
        nonce=SystemIds().nonce(),
        now=SystemClock().now(),
        valid_for=APPROVAL_VALID,
        reason=word.reason,
        withdraws=me.given if word.withdraws else None,
        step=request.step,
        call=None if request.call is None else call_digest(request.call),
        behalf=word.behalf,
    )
    return Prepared(request=request, statement=statement, signer=signer)


def signer_of(key: Path | None, agent: bool, environ: Mapping[str, str], known: Collection[str]) -> Signer:
    """Return the signer with the key in file `key`, or with the first of the agent's that is `known`.

    Raises:
        IdentityRefused: neither is named, or no agent runs. ApproverUnknown: the agent has no such key.
    """
    if key is not None:
        return load_ssh_signer(key)
    socket = environ.get("SSH_AUTH_SOCK") if agent else None
    if not socket:
        raise IdentityRefused(
            "name the approver's key, or run an SSH agent", next_steps=("rexecop approve ID --key FILE",)
        )
    for signer in agent_signers(Path(socket)):
        if signer.public.fingerprint in known:
            return signer
    raise ApproverUnknown("no key in the SSH agent is enrolled for an approver", agent=socket)


def approver_of(signer: Signer, trusted: tuple[Enrolment, ...]) -> Principal:
    """Return whose key this is.

    Raises:
        ApproverUnknown: it is enrolled for nobody.
    """
    fingerprint = signer.public.fingerprint
    enrolment = enrolled(fingerprint, (Role.APPROVER,), trusted) or enrolled(
        fingerprint, (Role.REQUESTER,), trusted
    )
    if enrolment is None:
        raise ApproverUnknown(
            f"key `{fingerprint}` is enrolled for nobody here",
            fingerprint=fingerprint,
            next_steps=("rexecop keys trust FILE.pub --person NAME --role approver",),
        )
    return Principal(person=enrolment.person, established=Established.KEY, credential=fingerprint)
