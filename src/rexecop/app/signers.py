"""Approvers as an `allowed_signers` file: enrolling whom one names, and writing down who is enrolled."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from rexecop.app.errors import IdentityRefused
from rexecop.app.keyring import Keyring, require_name
from rexecop.app.views import KeyView
from rexecop.governance.pack import POLICY_NAMESPACE
from rexecop.keys import read_allowed_signers
from rexecop.proof.allowed_signers import AllowedSigner, is_plain, matches, write
from rexecop.proof.errors import AllowedSignersMalformed
from rexecop.proof.principal import Principal
from rexecop.proof.publickey import PublicKey
from rexecop.proof.publishing import PROFILE_NAMESPACE
from rexecop.proof.records.approval import APPROVAL_NAMESPACE
from rexecop.proof.records.intent import INTENT_NAMESPACE
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role

_SECOND: Final = timedelta(seconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_NAMESPACES: Final = {
    Role.APPROVER: APPROVAL_NAMESPACE,
    Role.REQUESTER: INTENT_NAMESPACE,
    Role.ISSUER: POLICY_NAMESPACE,
    Role.PUBLISHER: PROFILE_NAMESPACE,
}


def listing(enrolled: Iterable[Enrolment]) -> str:
    """Return the approvers as `ssh-keygen -Y verify -f` reads them: each key for its time, for approvals."""
    return "".join(_line(one) for one in enrolled if one.role is Role.APPROVER)


def _line(one: Enrolment) -> str:
    if not is_plain(one.person):
        return f"# left out, since the name stands for others too: {one.person} {one.fingerprint}\n"
    # The file knows whole seconds; those count in which the key was good throughout.
    since = (one.since + _SECOND - _MILLISECOND).replace(microsecond=0)
    ends = [moment for moment in (one.expires, one.revoked) if moment is not None]
    until = (min(ends) - _MILLISECOND).replace(microsecond=0) if ends else None
    if until is not None and until <= since:
        return ""
    signer = AllowedSigner(
        principals=(one.person,),
        public=PublicKey.from_line(one.public),
        namespaces=(APPROVAL_NAMESPACE,),
        not_before=since,
        not_after=until,
    )
    return write((signer,))


async def enrol_file(
    keyring: Keyring, source: Path, role: Role, by: Principal, now: datetime
) -> tuple[KeyView, ...]:
    """Enrol every key of the file for the person its line names; all of them or, when one is refused, none.

    Raises:
        IdentityRefused: the role is none of people, a key speaks for another, or a name cannot be one.
        AllowedSignersMalformed: a line cannot be read, or says what an enrolment cannot.
    """
    if role not in _NAMESPACES:
        steps = (f"rexecop keys trust {source} --role {role} --person NAME",)
        raise IdentityRefused(f"a key in role `{role}` is enrolled by itself, under a name", next_steps=steps)
    try:
        if not (signers := read_allowed_signers(source)):
            raise AllowedSignersMalformed(f"`{source}` names nobody")
    except AllowedSignersMalformed as error:
        # Most likely a public key, which says nothing about whose it is.
        error.next_steps = (f"rexecop keys trust {source} --role {role} --person NAME",)
        raise
    persons = {view.fingerprint: view.person for view in keyring.view() if not view.revoked}
    for signer in signers:
        _require_enrollable(signer, role, now)
        for name in signer.principals:
            other = persons.setdefault(signer.public.fingerprint, name)
            if other != name:
                text = f"key `{signer.public.fingerprint}` speaks for `{other}`; a key has one person"
                raise IdentityRefused(text, person=other)
    return tuple(
        [
            await keyring.enrol(signer.public, signer.principals[0], role, by, expires=signer.not_after)
            for signer in signers
        ]
    )


def _require_enrollable(signer: AllowedSigner, role: Role, now: datetime) -> None:
    name = signer.principals[0]
    require_name(name)
    patterns = [one for one in signer.principals if not is_plain(one)]
    wrong = ""
    if patterns:
        wrong = f"`{patterns[0]}` is a pattern; a key is enrolled for one person"
    elif not matches(signer.namespaces, _NAMESPACES[role]):
        wrong = f"the key of `{name}` may not sign for `{_NAMESPACES[role]}`"
    elif signer.not_before is not None and signer.not_before > now:
        wrong = f"the key of `{name}` is not valid yet; enrol it when it is"
    elif signer.not_after is not None and signer.not_after <= now:
        wrong = f"the key of `{name}` is not valid any more"
    if wrong:
        raise AllowedSignersMalformed(wrong)
