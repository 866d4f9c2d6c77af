"""Verifying a bundle by one's own keys.

Policy and store are loaded only where a bundle or a root needs them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rexecop.app.clock import SystemClock
from rexecop.app.files import read_file, read_folder
from rexecop.app.root import Root
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.container import CONTAINER_BYTES_MAX
from rexecop.proof.errors import ProofError, RecordMalformed
from rexecop.proof.logproof import PROOF_BYTES_MAX
from rexecop.proof.note import NOTE_BYTES_MAX
from rexecop.proof.quorum import Groups
from rexecop.proof.records.decision import Decision, Terms
from rexecop.proof.trust import Enrolment, enrolments
from rexecop.proof.verify import NO_KEYS, Report, TrustedKeys, parse_trust, trust_of, verify

if TYPE_CHECKING:
    from rexecop.governance.admission import Policy
    from rexecop.governance.pack import Pack
    from rexecop.proof.records.plan import Plan

STDIN: Final = Path("-")
_READ_MAX: Final = CONTAINER_BYTES_MAX + 1  # One more than the verifier takes, so that it is what refuses.


def verify_bundle(
    path: Path,
    *,
    trust_dir: Path | None,
    checkpoint: Path | None,
    root: Path | None,
    growth: Path | None = None,
    now: datetime | None = None,
    kernel_guard_key: str | None = None,
) -> Report:
    """Verify the bundle at `path` (`-`: standard input) by the keys in `trust_dir`, else the root's.

    A folder is verified by the bundle in it, and each file there by what the bundle yields.
    `now` stands in for this machine's clock.

    Raises:
        FileMissing, FileRefused, TrustFileMalformed: a file is not there or not what it should be.
        GuardKeyRefused: the kernel guard's key is too short.
    """
    beside = None
    if path == STDIN:
        data = sys.stdin.buffer.read(_READ_MAX)
    elif path.is_dir():
        from rexecop.app.sclite.exchange import guard_key, open_folder

        data, beside = open_folder(path, guard_key(kernel_guard_key))
    else:
        data = read_file(path, bytes_max=_READ_MAX, whole=False)
    earlier = read_file(checkpoint, bytes_max=NOTE_BYTES_MAX) if checkpoint is not None else None
    trusted = trusted_keys(trust_dir, root)
    packs = Packs()
    return verify(
        data,
        trusted,
        checkpoint=earlier,
        growth=read_file(growth, bytes_max=PROOF_BYTES_MAX) if growth is not None else None,
        now=now or SystemClock().now(),
        evaluate=packs.evaluate,
        members=packs.members,
        beside=beside,
    )


def trusted_keys(trust_dir: Path | None, root: Path | None) -> TrustedKeys:
    """Return the keys in `trust_dir`, else those of the runtime root, else none.

    Raises:
        FileMissing, FileRefused, TrustFileMalformed: a file is not there or not what it should be.
    """
    if trust_dir is not None:
        return parse_trust(read_folder(trust_dir))
    return NO_KEYS if root is None else trust_of(enrolled_in(Root(root)) or ())


def verify_own(data: bytes, instance: Iterable[Sealed], opened: Iterable[Sealed] = ()) -> Report:
    """Verify the bundle `data` as its instance does: by the keys that its own records enrol.

    `opened` are records that were read already: those of them that are in the bundle are not read again.

    Raises:
        PublicKeyMalformed: one of them cannot be read.
    """
    packs = Packs()
    trusted = trust_of(enrolments(instance))
    now = SystemClock().now()
    known = {one.body: one for one in opened}
    return verify(data, trusted, now=now, evaluate=packs.evaluate, members=packs.members, opened=known)


def enrolled_in(root: Root) -> tuple[Enrolment, ...] | None:
    """Return the keys a root has enrolled, by which its owner verifies; None where there is no root."""
    if not root.anchor.exists():
        return None
    # A ledger that is only read: its writer's machinery takes as long to load as a signature to check.
    from rexecop.app.ledger import ledger_of
    from rexecop.store.reading import Reading

    with closing(ledger_of(root).readers()) as readers:
        store = Reading(readers)
        records = store.journal(store.instance_id).records
    return enrolments(records)


class Packs:
    """The policy that came with one bundle, read once however many decisions rest on it."""

    def __init__(self) -> None:
        self._policies: dict[tuple[Digest, ...], Policy] = {}

    def evaluate(self, decision: Decision, plan: Plan | None, packs: Mapping[Digest, bytes]) -> Terms:
        """Decide a recorded request about `plan` again, under the packs that came with it.

        Raises:
            PackRefused, YamlRefused, InputMissing: a pack cannot be read.
        """
        from rexecop.governance.admission import decide
        from rexecop.governance.steps import admit

        policy = self._policy([ref.digest for ref in decision.packs], packs)
        if plan is None:
            return decide(policy, decision.request).terms
        return admit(policy, decision.request, plan).terms

    def members(self, packs: Mapping[Digest, bytes]) -> Groups:
        """Return who is in which group.

        Raises:
            PackRefused, YamlRefused: a pack cannot be read.
        """
        return self._policy(sorted(packs), packs).groups()

    def _policy(self, wanted: Iterable[Digest], packs: Mapping[Digest, bytes]) -> Policy:
        from rexecop.governance.admission import Policy

        key = tuple(wanted)
        if key not in self._policies:
            self._policies[key] = Policy([_pack(packs[digest]) for digest in key])
        return self._policies[key]


def _pack(data: bytes) -> Pack:
    """Return the pack that `data` pins.

    Raises:
        PackRefused, YamlRefused: it cannot be read. RecordMalformed: it says other groups than its files.
    """
    from rexecop.governance.errors import PackRefused
    from rexecop.governance.pack import PACK_BYTES_MAX, Pack, PackText
    from rexecop.proof.codec import decode

    try:
        files = decode(PackText, data, bytes_max=2 * PACK_BYTES_MAX).files
    except ProofError as error:
        raise PackRefused(error.message, source="pack") from error
    pack = Pack.parse({path: text.encode() for path, text in files.items()})
    if pack.data != data:
        raise RecordMalformed(f"pack `{pack.ref.id}` says other groups than its own files")
    return pack
