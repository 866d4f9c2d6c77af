"""Driving a recorded operation once more, and finding the first record that comes out differently.

The real driver, gate, policy and normalizers work on a ledger in memory; time, lanes,
authority and everything people said are those of the record. Nothing is touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from rexecop.app.clock import SystemIds
from rexecop.app.contents import PinnedContents
from rexecop.app.errors import ReplayImpossible
from rexecop.app.lifecycle import Lifecycle
from rexecop.app.replay.tape import (
    Lost,
    Tape,
    TapeAuthority,
    TapeCaller,
    TapeClock,
    TapeHandlers,
    TapeLanes,
    TapeOpinions,
    require_outputs,
)
from rexecop.engines.budgets import SPACE as BUDGETS
from rexecop.engines.driver import Driver
from rexecop.engines.errors import JournalDamaged
from rexecop.engines.rereading import differences
from rexecop.engines.runner import runner_id
from rexecop.engines.world import World
from rexecop.operations.errors import AppendConflict, InputMissing
from rexecop.operations.fold import Operation, fold
from rexecop.operations.machine import DRIVABLE
from rexecop.operations.ports import (
    READ_AGAIN,
    Appended,
    Batch,
    Blob,
    Claim,
    Journal,
    Lease,
    Ledger,
    Store,
    TargetHead,
)
from rexecop.proof.canonical import Digest, Json, parse_json
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import PLAN_RECORD_BYTES_MAX, encode, to_json
from rexecop.proof.errors import RexecopError
from rexecop.proof.principal import ENGINE
from rexecop.proof.publickey import PublicKey
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.base import Record
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.sshwire import ssh_string
from rexecop.proof.suites import ED25519
from rexecop.proof.trust import enrolments
from rexecop.proof.vocabulary import Phase, Role

PAGE: Final = 500  # Rows of the index read at one time.
LEFT_OUT: Final = frozenset({"n", "prev", "at", "now", "expires", "not_before", "fence", "tzdata"})
"""What rightly differs: places, times, and who held the lease for the how manieth time."""
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayView:
    """Whether driving an operation again came to the same; else where it first did not, both sides.

    `records` came out the same, `given` of them were taken as recorded: what was asked, and
    what people said. `recorded` or `replayed` is None where one side has no such record.
    """

    operation_id: str
    number: int
    state: str
    same: bool
    records: int
    given: int
    n: int | None = None
    kind: str | None = None
    differences: tuple[str, ...] = ()
    recorded: Mapping[str, Json] | None = None
    replayed: Mapping[str, Json] | None = None


class _Differs(Exception):
    """A record came out otherwise, or should not have come at all."""

    def __init__(self, place: int, replayed: Record | None, why: str | None = None) -> None:
        super().__init__(why)
        self.place = place
        self.replayed = replayed
        self.why = why


class _End(BaseException):
    """The record ends here, in the middle of the work."""


class Playback:
    """A ledger in memory that takes what the record takes; everything else is read from the real one.

    What came from outside is written where it was, as by somebody beside the driver.
    """

    def __init__(self, tape: Tape, clock: TapeClock) -> None:
        self._tape = tape
        self._clock = clock
        self._lease: Lease | None = None
        self.records: list[Sealed] = []
        self.blobs: dict[Digest, Blob] = {}
        self.names: dict[str, str] = {}  # From the digest of a replayed record to the recorded one's.

    def __getattr__(self, name: str) -> object:
        return getattr(self._tape.ledger, name)

    # --- what the record decides ---

    def journal(self, operation: str) -> Journal:
        """Return what was written so far, or another operation as it is."""
        if operation != self._tape.operation:
            return self._tape.ledger.journal(operation)
        return Journal(operation=operation, records=tuple(self.records))

    def claimed(self, claim: Claim) -> str | None:
        """Return who had used `claim` by then; of a budget only what came before."""
        found = self._tape.ledger.claimed(claim)
        if found is None or claim.space != BUDGETS:
            return found
        ticket = fold(self._tape.ledger.journal(found).records).ticket
        before = ticket is not None and ticket.record.at < self._clock.now()
        return found if before and found != self._tape.operation else None

    def target_head(self, target: str) -> TargetHead | None:
        """Return the last change on `target` before the attempt that is recorded next."""
        for one in self._tape.records[self._clock.next :]:
            record = one.record
            if isinstance(record, Attempt) and record.target == target and record.target_n is not None:
                prev = record.target_prev
                return (
                    None if prev is None else TargetHead(target=target, n=record.target_n - 1, attempt=prev)
                )
        return None

    def blob(self, commitment: Digest) -> Blob | None:
        """Return an output."""
        return self.blobs.get(commitment) or self._tape.ledger.blob(commitment)

    # --- leases: nobody else is here ---

    def lease(self, operation: str) -> Lease | None:
        """Return the lease."""
        return self._lease

    def be_heard(self, runner: str) -> None:
        """Do nothing: nobody else is here."""

    def is_heard(self) -> bool:
        """Return True: nobody is here who could take it for gone."""
        return True

    def release(self, lease: Lease) -> None:
        """Give the lease back."""
        self._lease = replace(lease, expires=datetime.fromtimestamp(0, UTC))

    # --- appending ---

    async def append(self, batch: Batch) -> Appended:
        """Take `batch` if it is what was recorded.

        Raises:
            AppendConflict: something from outside was recorded first; it is written now.
            _Differs, _End: see there.
        """
        self.blobs |= {blob.ref.commitment: blob for blob in batch.blobs}
        for place, sealed in enumerate(batch.records, batch.expected):
            if place != len(self.records) or self.give():
                raise AppendConflict(f"operation `{batch.operation}` has {len(self.records)} records")
            self._take(sealed)
        self._lease = batch.lease or self._lease
        if batch.release and self._lease is not None:
            self.release(self._lease)
        return Appended(first_leaf=0)

    def give(self) -> bool:
        """Write what is given at this place, and return whether there was anything."""
        began = place = len(self.records)
        while place < len(self._tape.records) and self._tape.is_given(place):
            self._take(self._again(self._tape.records[place]))
            place += 1
        return place > began

    def _again(self, sealed: Sealed) -> Sealed:
        """Return a given record for its place in this ledger; whoever names it goes on to do so."""
        record, last = sealed.record, self.records[-1] if self.records else None
        record = replace(record, n=len(self.records), prev=last.digest if last else None)
        if isinstance(record, Reconciliation):
            back = {there: Digest(here) for here, there in self.names.items()}
            record = replace(record, attempt=back[record.attempt], probe=record.probe and back[record.probe])
        return Sealed(record, sealed.body, sealed.digest)

    def _take(self, sealed: Sealed) -> None:
        place = len(self.records)
        if place == len(self._tape.records):
            op = fold(self._tape.records)
            raise _End if op.state in DRIVABLE else _Differs(place, sealed.record)
        recorded = self._tape.records[place]
        self.names[sealed.digest] = recorded.digest
        if plain(sealed.record, self.names) != plain(recorded.record, {}):
            raise _Differs(place, sealed.record)
        self.records.append(sealed)


def plain(record: Record, names: Mapping[str, str]) -> Json:
    """Return `record` without what rightly differs, with the digests of records by their `names`."""
    if isinstance(record, Receipt):  # Nobody is told again; whether somebody was, is as it was recorded.
        kept = tuple(one for one in record.obligations if one.name != "notify")
        record = replace(record, obligations=kept)
    named = _DIGEST.sub(lambda found: names.get(found[0], found[0]), encode(record).decode())
    return _kept(parse_json(named, bytes_max=2 * PLAN_RECORD_BYTES_MAX))


def _kept(value: Json) -> Json:
    if not isinstance(value, Mapping):
        return value
    # A fact may have any name, and is what was observed.
    return {
        key: item if key == "facts" else _kept(item) for key, item in value.items() if key not in LEFT_OUT
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unsigned:
    """Stands where the instance's key would be: what comes out here is signed by nobody."""

    public: PublicKey

    def sign(self, data: bytes) -> bytes:
        """Return what has the form of a signature and is none."""
        return ssh_string(ED25519.encode()) + ssh_string(bytes(64))


class _Again:
    """One operation being driven again."""

    def __init__(self, ledger: Ledger, operation: str, instance: str, margin: timedelta) -> None:
        journal = ledger.journal(operation)
        if journal.damaged:
            words = f"record {journal.damaged[0].n} of operation `{operation}` cannot be read"
            raise JournalDamaged(words, n=journal.damaged[0].n, next_steps=("rexecop doctor",))
        self.tape = tape = Tape(ledger, operation, journal.records, instance)
        self.clock = TapeClock(tape)
        self.playback = Playback(tape, self.clock)
        store = cast(Store, self.playback)
        contents = PinnedContents(store)
        keys = [one.public for one in enrolments(tape.own) if one.role is Role.INSTANCE]
        authority = TapeAuthority(tape=tape, clock=self.clock, contents=contents, instance=instance)
        world = World(
            store=store,
            lanes=TapeLanes(self.clock),
            authority=authority,
            contents=contents,
            clock=self.clock,
            ids=SystemIds(),
            signing=lambda: _Unsigned(public=PublicKey.from_line(keys[-1])),
            runner=runner_id(),
            permit_seconds=60,
            sound=lambda: None,
            opinions=TapeOpinions(clock=self.clock),
            observe=self._observe,
            handlers=TapeHandlers(clock=self.clock),
        )
        self.lifecycle = Lifecycle(world, Driver(world, TapeCaller), margin)

    async def run(self) -> None:
        """Go through the whole record.

        Raises:
            _Differs: something came out otherwise.
        """
        done, total = self.playback.records, len(self.tape.records)
        while len(done) < total:
            began = len(done)
            self.clock.place, self.clock.session, self.clock.calling = began, None, 0
            if self.playback.give():
                continue
            try:
                await self._go_on(self.tape.records[began].record)
                why = "nothing more came"
            except (ReplayImpossible, InputMissing):
                raise
            except RexecopError as error:
                why = f"nothing more came: {error.message}"
            except Lost:
                why = "the call in hand was not made"
            except _End:
                return
            if len(done) == began:
                raise _Differs(began, None, why)

    async def _go_on(self, following: Record) -> None:
        """Do what somebody did here: look what became of an unknown outcome, or start it."""
        looks = isinstance(following, Attempt) and following.phase is Phase.PROBE
        if looks and fold(self.playback.records).unknown:
            await self.lifecycle.reconcile(
                self.tape.operation, ENGINE, probe=True, happened=None, reason=None
            )
        else:
            await self.lifecycle.start(self.tape.operation)

    async def _observe(self, op: Operation) -> tuple[Operation, Operation]:
        """Return the observation the plan pinned, and its repetition at this time, as both were recorded."""
        pinned, ledger = op.the_plan.pinned, self.tape.ledger
        assert pinned is not None
        before = after = fold(ledger.journal(pinned.operation).records)
        since, until = self.tape.at(max(0, self.clock.next - 1)), self.clock.now()
        last = 0
        while rows := ledger.rows(waiting=READ_AGAIN, after=last, limit=PAGE):
            for _, row in rows:
                if since <= row.created <= until:
                    found = fold(ledger.journal(row.operation).records)
                    if found.the_intent.origin.event == op.sealed_plan.digest:
                        return before, found
            if rows[-1][1].created < since:
                break
            last = rows[-1][0]
        return before, after


async def replay(ledger: Ledger, operation: str, instance: str, margin: timedelta) -> ReplayView:
    """Drive `operation` of the instance's `ledger` again, and return whether it came to the same.

    Raises:
        ReplayImpossible: something it was driven by is not kept. JournalDamaged: a record cannot be read.
    """
    again = _Again(ledger, operation, instance, margin)
    tape = again.tape
    require_outputs(tape)
    found: _Differs | None = None
    try:
        await again.run()
    except _Differs as differs:
        found = differs
    except InputMissing as missing:
        raise ReplayImpossible(missing.message) from missing
    same = len(again.playback.records)
    view = ReplayView(
        operation_id=operation,
        number=ledger.number(operation),
        state=str(fold(tape.records).state),
        same=found is None,
        records=same,
        given=sum(tape.is_given(place) for place in range(same)),
    )
    return view if found is None else _told(view, tape, found, again.playback.names)


def _told(view: ReplayView, tape: Tape, found: _Differs, names: Mapping[str, str]) -> ReplayView:
    """Return the view with the first difference, both sides."""
    recorded = tape.records[found.place].record if found.place < len(tape.records) else None
    replayed = found.replayed
    if recorded is None or replayed is None:
        lines: tuple[str, ...] = (found.why or "a record came that was not recorded",)
    elif recorded.kind != replayed.kind:
        lines = (f"a `{replayed.kind}` came, recorded is a `{recorded.kind}`",)
    else:
        lines = differences(plain(recorded, {}), plain(replayed, names))
    return replace(
        view,
        n=found.place if recorded is None else recorded.n,
        kind=(recorded or replayed or tape.records[-1].record).kind,
        differences=lines,
        recorded=None if recorded is None else to_json(recorded),
        replayed=None if replayed is None else to_json(replayed),
    )
