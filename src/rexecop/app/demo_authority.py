"""Authority for `/execute` in demo mode: the operator's packs, and one that comes with the program.

What the operator forbids stays forbidden: the built-in pack only adds its two actions.
"""

from __future__ import annotations

from typing import Final

from rexecop.app.authority import RootAuthority
from rexecop.governance import demo_pack
from rexecop.governance.admission import Policy
from rexecop.governance.pack import Pack
from rexecop.operations.ports import Clock, PinnedInput
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.records.instance import Halt
from rexecop.proof.trust import Enrolment

PACK_ROLE: Final = "policy-pack"
FRESH_MS: Final = 50  # A pack changed on disk binds after this; looking costs as much as deciding.


class DemoAuthority:
    """The authority of a root, with the demo pack in force as well."""

    def __init__(self, authority: RootAuthority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock
        self.instance = authority.instance
        self._pack = Pack.parse(demo_pack.FILES)
        self._policy: Policy | None = None
        self._looked_ms = 0

    def policy(self, profile: Digest | None = None, environment: Digest | None = None) -> Policy:
        """Return the packs in force; none of a profile counts here."""
        now = self._clock.boot_ms()
        if self._policy is None or now - self._looked_ms >= FRESH_MS:
            self._policy = self._authority.policy_with(self._pack)
            self._looked_ms = now
        return self._policy

    def pinned_packs(self) -> tuple[PinnedInput, ...]:
        """Return the packs in force as inputs to pin beside the decisions made under them."""
        own = PinnedInput(digest=self._pack.ref.digest, role=PACK_ROLE, data=self._pack.data)
        return (*self._authority.pinned_packs(), own)

    def enrolments(self) -> tuple[Enrolment, ...]:
        """Return the keys this instance trusts or trusted."""
        return self._authority.enrolments()

    def halts(self, size: int | None = None) -> tuple[Halt, ...]:
        """Return the halts that stand."""
        return self._authority.halts(size)

    def trust_records(self) -> tuple[Sealed, ...]:
        """Return the instance's own records."""
        return self._authority.trust_records()
