"""Targets and what is known of them: attestations, minted only from what a placement observed.

A placement is where a call acts: this machine (`local`), a host over SSH, a `guest`, a `node`.
It attests a target by connecting to it and looking; that has no effect there. What the other
side only says of itself is no attestation.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol, TypeAlias, runtime_checkable

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.proof.call import Call
from rexecop.proof.canonical import Json
from rexecop.proof.signer import Signer
from rexecop.proof.times import format_time

VALID: Final = timedelta(seconds=60)  # As long as a permit lasts: what was seen before it is no news.
CALLS_PER_TARGET_MAX: Final = 256  # Under way at a time; a host that takes more is a service.
CALLS_PER_LANE_MAX: Final = 1_024  # As many as the service takes connections, each of which makes one call.

LOCAL_MACHINE: Final = "local-machine"
GUEST_SOCKET: Final = "guest-socket"
GUEST_TLS: Final = "guest-tls"
NODE_KEY: Final = "node-key"
CLASSES: Final[Mapping[str, str]] = {
    LOCAL_MACHINE: "this very machine, by its boot and its kernel",
    GUEST_SOCKET: "a process on this machine, by the user that the kernel says holds the socket",
    GUEST_TLS: "whoever showed a certificate that the call's authorities vouch for",
    NODE_KEY: "whoever signed a fresh challenge with the node's key",
}
"""Every class that is minted here, and what it was concluded from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """That `target` was seen `at` to be of class `class_`, by what was `measured`; good until `expires`."""

    target: str
    class_: str
    measured: Mapping[str, Json]
    at: datetime
    expires: datetime

    def facts(self) -> dict[str, Json]:
        """Return it as the facts of an outcome hold it."""
        return {
            "class": self.class_,
            "measured": dict(self.measured),
            "at": format_time(self.at),
            "expires": format_time(self.expires),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAccess:
    """How nodes are reached: the hub's `socket`, who signs permits, and where nonces come from."""

    socket: str
    signing: Callable[[], Signer]
    nonce: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unattested:
    """Why there is no attestation."""

    failure: Failure
    message: str


Seen: TypeAlias = Attestation | Unattested | None
"""How a target was seen to be; None where nothing looked."""


@runtime_checkable
class Attesting(Protocol):
    """A lane whose placement can attest its targets."""

    async def attest(self, call: Call, now: datetime) -> Attestation:
        """Look at the target of `call` and return what was seen.

        Raises:
            RequestRefused: it cannot be reached, or is not what the call says it is.
        """
        ...


def attested(target: str, class_: str, measured: Mapping[str, Json], now: datetime) -> Attestation:
    """Return the attestation of what was seen `now`."""
    return Attestation(target=target, class_=class_, measured=measured, at=now, expires=now + VALID)


def attest_local(target: str, now: datetime) -> Attestation:
    """Return the attestation of this machine.

    Raises:
        RequestRefused: it does not say which boot this is.
    """
    system = os.uname()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError as error:
        raise RequestRefused(Failure.TARGET_UNATTESTED, "the boot of this machine has no name") from error
    measured: dict[str, Json] = {
        "boot": boot,
        "kernel": system.release,
        "machine": system.machine,
        "uid": os.getuid(),
    }
    return attested(target, LOCAL_MACHINE, measured, now)


def check_attested(target: str, classes: tuple[str, ...], seen: Seen, now: datetime) -> None:
    """Return only if `target` was seen to be of one of `classes`, or if none is asked for.

    Raises:
        RequestRefused: with `target_unattested`, or with what kept it from being looked at.
    """
    if not classes:
        return
    wanted = ", ".join(classes)[:120]
    if isinstance(seen, Unattested):
        raise RequestRefused(seen.failure, f"target `{target:.80}` was not attested: {seen.message}")
    if seen is None or seen.target != target:
        message = f"nothing here attests target `{target:.80}`; asked for: {wanted}"
    elif seen.class_ not in classes:
        message = f"target `{target:.80}` is attested `{seen.class_}`; asked for: {wanted}"
    elif now >= seen.expires:
        message = f"the attestation of target `{target:.80}` has expired"
    else:
        return
    raise RequestRefused(Failure.TARGET_UNATTESTED, message)


class Quota:
    """Counts the calls under way in this process, by lane and by target."""

    def __init__(self, *, per_target: int = CALLS_PER_TARGET_MAX, per_lane: int = CALLS_PER_LANE_MAX) -> None:
        self.most: Final = {"target": per_target, "lane": per_lane}
        self._under_way: Counter[tuple[str, str]] = Counter()

    def full(self, kind: str, name: str) -> RequestRefused:
        """Return the refusal of one call more."""
        words = f"{self.most[kind]} calls of {kind} `{name:.80}` are under way already"
        return RequestRefused(Failure.QUOTA_EXCEEDED, words)

    @contextmanager
    def taking(self, lane: str, target: str) -> Iterator[None]:
        """Count a call for as long as it is under way.

        Raises:
            RequestRefused: with `quota_exceeded`; it is not counted.
        """
        places = (("lane", lane), ("target", target))
        for kind, name in places:
            if self._under_way[kind, name] >= self.most[kind]:
                raise self.full(kind, name)
        self._under_way.update(places)
        try:
            yield
        finally:
            for place in places:
                self._under_way[place] -= 1
                if not self._under_way[place]:
                    del self._under_way[place]
