"""Who is asking: the OS user, or the person whose enrolled key is shown."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from rexecop.app.errors import IdentityRefused
from rexecop.keys import load_ssh_signer
from rexecop.proof.principal import Principal
from rexecop.proof.signer import Signer
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Established, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An established requester; `signer` signs what they ask for, where a key established them.

    `sponsor` answers for an agent that came with one; of others the policy packs say who does.
    """

    principal: Principal
    signer: Signer | None = None
    sponsor: str | None = None


def os_user() -> Principal:
    """Return the user this process runs as."""
    return _user(os.getuid())


@cache
def _user(uid: int) -> Principal:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    return Principal(person=name, established=Established.OS_USER, credential=f"uid:{uid}")


def identify(key: Path | None, trusted: tuple[Enrolment, ...], now: datetime) -> Identity:
    """Return who asks: the OS user, or with `key` the person it is enrolled for.

    Raises:
        IdentityRefused: the key is enrolled for nobody, or no longer. KeyRefused: it cannot be used.
    """
    if key is None:
        return Identity(principal=os_user())
    signer = load_ssh_signer(key)
    enrolment = enrolled(signer.public.fingerprint, (Role.REQUESTER, Role.APPROVER), trusted)
    if enrolment is None:
        raise IdentityRefused(
            f"key `{signer.public.fingerprint}` is enrolled for nobody here",
            fingerprint=signer.public.fingerprint,
            next_steps=(f"rexecop keys trust {key}.pub --person NAME --role requester",),
        )
    if not enrolment.valid_at(now):
        text = f"key `{enrolment.fingerprint}` of `{enrolment.person}` has expired"
        steps = (f"rexecop keys rotate --person {enrolment.person} --role {enrolment.role} --key NEW.pub",)
        raise IdentityRefused(text, fingerprint=enrolment.fingerprint, next_steps=steps)
    principal = Principal(
        person=enrolment.person, established=Established.KEY, credential=enrolment.fingerprint
    )
    return Identity(principal=principal, signer=signer)


def supposed(person: str, enrolled: Sequence[Enrolment]) -> Identity:
    """Return `person` as if it were they who ask, by their key where one of theirs is `enrolled`.

    For questions that record nothing: a name establishes nobody.
    """
    roles = (Role.REQUESTER, Role.APPROVER)
    key = next((one.fingerprint for one in reversed(enrolled) if one.role in roles), None)
    how = Established.OS_USER if key is None else Established.KEY
    return Identity(principal=Principal(person=person, established=how, credential=key or "supposed"))


def enrolled(fingerprint: str, roles: tuple[Role, ...], trusted: tuple[Enrolment, ...]) -> Enrolment | None:
    """Return the newest standing enrolment of a key in one of `roles`."""
    for enrolment in reversed(trusted):
        if enrolment.fingerprint == fingerprint and enrolment.role in roles and enrolment.revoked is None:
            return enrolment
    return None
