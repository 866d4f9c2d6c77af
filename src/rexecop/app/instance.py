"""An instance in use: everything the command line, the service and Python code may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rexecop.app import escalations, waiting
from rexecop.app.approver import Word
from rexecop.app.approving import Approving
from rexecop.app.authority import RootAuthority
from rexecop.app.describe import awaited_text, left_text, operation_view, validation_view
from rexecop.app.doctor import Doctor
from rexecop.app.drifting import Drift
from rexecop.app.erasing import ErasureView, erase_outputs
from rexecop.app.evidence import Asked, Evidence
from rexecop.app.explain import explain, explain_before, rests_on_records
from rexecop.app.files import read_file
from rexecop.app.following import follow
from rexecop.app.halting import Halting
from rexecop.app.heads import HeadsKeeper
from rexecop.app.identity import Identity, os_user, supposed
from rexecop.app.instance_key import InstanceKey
from rexecop.app.keyring import Keyring
from rexecop.app.lifecycle import Lifecycle
from rexecop.app.observing import Observing
from rexecop.app.planner import PlanInput, Planner
from rexecop.app.reading import Reading
from rexecop.app.reviewing import record_review
from rexecop.app.settings import Settings
from rexecop.app.signers import enrol_file, listing
from rexecop.app.sinks import Sinks
from rexecop.app.stamps import Stamps
from rexecop.app.standing import Standing, StandingApprovals, StandingView
from rexecop.app.telling import Telling
from rexecop.app.views import (
    CheckView,
    DoctorView,
    ExportView,
    HaltView,
    KeyView,
    OperationView,
    StampView,
    ValidationView,
    WhyView,
    WindowsView,
)
from rexecop.app.waiting import AT_ONCE, Waits
from rexecop.app.windows import windows_view
from rexecop.app.witness import CosignedView, Witnesses
from rexecop.engines.closing import pinned_facts
from rexecop.engines.driver import Driven, Driver
from rexecop.engines.session import Session
from rexecop.engines.world import World
from rexecop.governance.errors import AnswerUnfit
from rexecop.governance.requests import read_answer, terms_in_words
from rexecop.governance.standing import coverage_in_words
from rexecop.lanes.secrets import Secrets
from rexecop.operations.errors import StoreError
from rexecop.operations.queue import Priority
from rexecop.proof.canonical import Json
from rexecop.proof.codec import encode
from rexecop.proof.der import BYTES_MAX as STAMP_BYTES_MAX
from rexecop.proof.records.command import Verb
from rexecop.proof.vocabulary import Role, Verdict
from rexecop.store.ledger import LedgerStore

if TYPE_CHECKING:
    from rexecop.app.comparing import DiffView


class Closing(Protocol):
    """Something that ends with the instance."""

    def close(self) -> None:
        """Give back what is held."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an instance is put together from; `build` is the only maker."""

    settings: Settings
    store: LedgerStore
    world: World
    authority: RootAuthority
    keyring: Keyring
    key: InstanceKey
    planner: Planner
    drift: Drift
    observing: Observing
    lifecycle: Lifecycle
    approving: Approving
    standing: StandingApprovals
    evidence: Evidence
    stamps: Stamps
    heads: HeadsKeeper
    witnesses: Witnesses
    sinks: Sinks
    doctor: Doctor
    halting: Halting
    telling: Telling
    secrets: Secrets
    ledger: LedgerStore
    closing: tuple[Closing, ...]


class Instance(Reading):
    """One runtime root, opened."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.world.store, parts.world.clock, parts.evidence.log, parts.world.capacity)
        self._parts = parts

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the ledger and end what was started; safe to repeat."""
        for part in self._parts.closing:
            part.close()

    def driven_by(self, driver: Callable[[World], Driver]) -> Instance:
        """Return this instance with its operations driven by another driver."""
        parts = self._parts
        lifecycle = Lifecycle(parts.world, driver(parts.world), self.margin, parts.drift)
        return Instance(replace(self._parts, lifecycle=lifecycle))

    def acting_as(self, identity: Identity) -> Instance:
        """Return this instance with somebody else asking and given evidence; it is closed with this one."""
        observing = replace(self._parts.observing, identity=lambda: identity)
        evidence = self._parts.evidence.given_to(identity.principal)
        return Instance(replace(self._parts, observing=observing, evidence=evidence))

    @property
    def parts(self) -> Parts:
        """What this instance was put together from; `app` builds its services on it."""
        return self._parts

    # --- asking and running ---

    def identity(self) -> Identity:
        """Return who is asking, established by key or as the OS user."""
        return self._parts.observing.identity()

    async def plan(self, asked: PlanInput) -> OperationView:
        """Store an intent, its plan and the policy's decision.

        Raises:
            OperationsError: the request is no plan; nothing was stored.
        """
        planner, identity, pinned = self._parts.planner, self.identity(), None
        earlier = planner.repeated(asked, identity)
        if earlier is not None:
            return self._view(earlier)
        found = planner.observation(asked)
        if found is not None and asked.observe is False:
            pinned = self._parts.observing.newest(planner.prepare(found[0]).draft, found[1])
        # What policy blocks anyway is no reason to touch the target, not even with a read.
        elif found is not None and planner.foresee(asked, identity)[0].terms.verdict is not Verdict.BLOCKED:
            pinned = pinned_facts((await self.observe(found[0])).op)
        session = await planner.plan(asked, identity, pinned)
        await self._parts.standing.use(session)
        await self._parts.telling.planned(session.op)
        self._parts.lifecycle.keep(session)
        return self._view(session)

    async def observe(self, look: PlanInput) -> Session:
        """Run the read that a change rests on, as an operation of its own."""
        session = await self._parts.planner.plan(look, self.identity(), at_once=True)
        # It waits for nobody's turn. A change that runs there keeps it out, and later is too late.
        driven = await self._parts.lifecycle.driver.drive(session)
        if driven.queued is not None:
            command = await self._parts.lifecycle.command(
                session.id, Verb.CANCEL, self.identity().principal, driven.queued
            )
            return command.session
        return driven.session

    async def start(
        self,
        operation: str,
        *,
        timeout: float | None = None,
        wait: bool = False,
        priority: str | None = None,
        as_planned: bool = False,
    ) -> OperationView:
        """Drive an operation until it ends or parks; what may not start yet waits in the queue.

        With `wait` this call waits too, for its turn, for approval, and for whoever drives it meanwhile.
        After `timeout` seconds it goes on elsewhere or later. Cancelled, what only this call put into
        the queue is taken out again: nobody waits for it any more. With `as_planned` the files that it was
        planned from are not looked at again, now or later.

        Raises:
            PlanDrifted, CatalogDrifted: the same plan would not come of them now.
            TimeoutError: `timeout` passed; the call in flight was ended, its record says how.
        """
        name, wanted = self.resolve(operation), None if priority is None else Priority(priority)
        if as_planned:
            self._parts.drift.forget(name)
        waits = Waits(timeout=timeout, wait=wait)
        return await self._seen(await waiting.start(self._parts.lifecycle, name, wanted, waits))

    def enqueue(
        self, operation: str, priority: str | None = None, *, as_planned: bool = False
    ) -> OperationView:
        """Let an operation be started when it may, by whoever works on this root; return where it stands.

        `as_planned` as for `start`.

        Raises:
            IllegalMove: it has started already, or never will.
        """
        op = self.operation(operation)
        if as_planned:
            self._parts.drift.forget(op.id)
        self._parts.lifecycle.queue.enter(op, None if priority is None else Priority(priority))
        return self.status(op.id)

    async def resume(
        self, operation: str, reason: str | None = None, waits: Waits = AT_ONCE
    ) -> OperationView:
        """Go on with a paused operation."""
        return await self._command(operation, Verb.RESUME, reason, waits)

    async def retry(self, operation: str, reason: str | None = None, waits: Waits = AT_ONCE) -> OperationView:
        """Try the failed step of a failed operation again."""
        return await self._command(operation, Verb.RETRY, reason, waits)

    async def pause(self, operation: str, reason: str | None = None) -> OperationView:
        """Stop before the next step."""
        return await self._command(operation, Verb.PAUSE, reason)

    async def cancel(self, operation: str, reason: str | None = None) -> OperationView:
        """End an operation before it is done."""
        return await self._command(operation, Verb.CANCEL, reason)

    async def rollback(
        self, operation: str, reason: str | None = None, waits: Waits = AT_ONCE
    ) -> OperationView:
        """Undo what an operation did, latest step first."""
        return await self._command(operation, Verb.UNDO, reason, waits)

    async def escalate(self, operation: str, reason: str | None = None) -> OperationView:
        """Hand a failed or blocked operation to people."""
        return await self._command(operation, Verb.ESCALATE, reason)

    async def _command(
        self, operation: str, verb: Verb, reason: str | None, waits: Waits = AT_ONCE
    ) -> OperationView:
        name, by = self.resolve(operation), self.identity().principal
        return await self._seen(await waiting.order(self._parts.lifecycle, name, verb, by, reason, waits))

    async def reconcile(
        self,
        operation: str,
        *,
        probe: bool,
        happened: bool | None = None,
        reason: str | None = None,
        step: str | None = None,
    ) -> OperationView:
        """Settle unknown outcomes, or that of `step`, by their probe, or on the caller's word."""
        name, by = self.resolve(operation), self.identity().principal
        driven = await self._parts.lifecycle.reconcile(
            name, by, probe=probe, happened=happened, reason=reason, step=step
        )
        return await self._seen(driven)

    async def _seen(self, driven: Driven) -> OperationView:
        await self._parts.heads.record_daily()
        await self._parts.telling.waits(driven.session.op)
        await self._parts.telling.assessed(driven.session.op)
        if driven.session.op.the_intent.origin.channel == "trigger":
            with suppress(StoreError):  # What is promised is kept by the next worker that looks.
                await follow(self, driven.session.id)
        self._parts.lifecycle.keep(driven.session)
        view = self._view(driven.session)
        if driven.queued is None:
            return view
        found = self._parts.lifecycle.queue.verdict(view.operation_id)
        return replace(view, waiting=driven.queued, place=None if found is None else found.place)

    def _view(self, session: Session) -> OperationView:
        """Return the view of an operation this process just wrote, without reading it again."""
        number = self._parts.world.store.number(session.id)
        # Only where an attempt has no outcome does it matter whether its runner lives.
        alive = bool(session.op.in_flight) and self.alive(session.id)
        return operation_view(session.op, number, alive=alive, now=self._clock.now())

    # --- when, and whether at all ---

    def halts(self) -> tuple[HaltView, ...]:
        """Return the halts that stand."""
        return self._parts.halting.standing()

    def lifters(self) -> tuple[str, ...]:
        """Return who may lift what others halted."""
        return self._parts.halting.lifters()

    def halt(self, scope: str, reason: str, *, lift: bool = False) -> tuple[HaltView, ...]:
        """Stop every further permit within `scope`, or lift that; return what stands then.

        Raises:
            HaltRefused, LiftRefused: nothing was recorded.
        """
        work = self._parts.halting.lift if lift else self._parts.halting.halt
        return work(scope, reason, self.identity().principal)

    def windows(self, env: Path | None, target: str | None) -> WindowsView:
        """Return when changes of `target`, or of all of the environment at `env`, may run."""
        parts = self._parts
        environment = None if env is None else parts.planner.environment(env)
        schedules = [*parts.authority.policy().schedules]
        if environment is not None:
            schedules.append(environment.safety.schedule)
        return windows_view(schedules, environment, target, parts.world.clock.now(), self.halts())

    # --- approving ---

    async def approve(
        self,
        operation: str,
        *,
        key: Path | None,
        agent: bool = False,
        approves: bool = True,
        withdraws: bool = False,
        reason: str | None = None,
        step: str | None = None,
        behalf: str | None = None,
    ) -> OperationView:
        """Sign a yes (or no) to what `preview` shows, with the approver's own key, or take one back.

        With `step` it is about the exact call of that step, which waits for it; with `behalf` it is the
        vote of that person, who gave it to the approver.

        Raises:
            ApprovalRefused: the approver may not, or the operation does not ask; the attempt is noted.
        """
        word = Word(approves=approves, withdraws=withdraws, reason=reason, step=step, behalf=behalf)
        name = self.resolve(operation)
        await self._parts.approving.approve(name, key=key, agent=agent, word=word)
        return self.status(name)

    async def may_approve(
        self,
        operation: str,
        *,
        key: Path | None,
        agent: bool = False,
        approves: bool = True,
        withdraws: bool = False,
        step: str | None = None,
        behalf: str | None = None,
    ) -> None:
        """Return only if `approve` would take this key's word now; raises what it raises."""
        name = self.resolve(operation)
        word = Word(approves=approves, withdraws=withdraws, step=step, behalf=behalf)
        await self._parts.approving.may_approve(name, key=key, agent=agent, word=word)

    def asked_in_words(self, operation: str) -> str:
        """Return the terms that an approval signs beside the preview, or the call of a step that waits."""
        op = self.operation(operation)
        waits = awaited_text(op)
        left = left_text(op)
        return waits or f"terms: {terms_in_words(op.terms)}" + (f"\n{left}" if left else "")

    def approval_request(self, operation: str) -> bytes:
        """Return what the operation asks its approvers, as a file that they answer on their own machine."""
        return encode(self._parts.approving.request(self.operation(operation))) + b"\n"

    async def take_answer(self, data: bytes, about: str | None = None) -> OperationView:
        """Take the yes or no that an approver signed on their own machine, to the operation `about` if named.

        Raises:
            RequestMalformed: it is no answer. ApprovalRefused: it does not count.
        """
        answer = read_answer(data)
        if about not in (None, answer.statement.operation):
            raise AnswerUnfit("the answer is about another operation")
        await self._parts.approving.take(answer)
        return self.status(answer.statement.operation)

    def standing_coverage(self, operation: str, wanted: Standing) -> str:
        """Return in words what a standing approval like the operation's plan would cover."""
        op = self.operation(operation)
        return (
            coverage_in_words(self._parts.standing.covered(op, wanted))
            + f"{self.asked_in_words(operation)}\n"
        )

    async def standing_new(
        self, operation: str, wanted: Standing, *, key: Path | None, agent: bool = False
    ) -> StandingView:
        """Approve plans like the operation's beforehand, within bounds, a number of times."""
        return await self._parts.standing.give(self.operation(operation), wanted, key=key, agent=agent)

    def standing_list(self) -> tuple[StandingView, ...]:
        """Return every standing approval ever given."""
        return self._parts.standing.view()

    async def standing_revoke(
        self, standing: str, *, key: Path | None, agent: bool = False, reason: str | None = None
    ) -> StandingView:
        """Take a standing approval back, at once."""
        return await self._parts.standing.revoke(standing, reason, key=key, agent=agent)

    def moment(self, text: str) -> datetime:
        """Return the moment to come that `text`, a date or a time with its zone, names."""
        found = self._parts.keyring.expiry(text)
        assert found is not None
        return found

    async def review(self, operation: str, reason: str) -> OperationView:
        """Record the caller's review of what was done or observed, and what they found."""
        parts, by, name = self._parts, self.identity().principal, self.resolve(operation)
        found = None
        if self.operation(name).review_by is None:
            found = await escalations.review(parts.world, name, by, reason)
        return self._view(found or await record_review(parts.world, parts.authority, name, by, reason))

    # --- looking ---

    def why(self, operation: str) -> WhyView:
        """Say why an operation is where it is, and what may be done."""
        return self.why_for_now(operation)[0]

    def why_for_now(self, operation: str) -> tuple[WhyView, bool]:
        """Return as `why`, and whether it stays so until there is a further record."""
        seen = self.seen(operation)
        return explain(seen, self._parts.world, self._parts.settings), rests_on_records(seen.op)

    def why_before(self, asked: PlanInput) -> WhyView:
        """Say what policy would answer, before anything is stored, to the caller or whom `--as` names."""
        label, parts = self._parts.settings.as_label, self._parts
        if label is None:
            return explain_before(asked, parts.planner, self.identity())
        named = [one for one in parts.authority.enrolments() if one.person == label and one.revoked is None]
        asking = replace(asked, sponsor=parts.authority.policy().entities.agents.get(label))
        return explain_before(asking, parts.planner, supposed(label, named))

    async def diff(
        self, operation: str, profile: str | None, env: str | None, *, observe: bool = False
    ) -> DiffView:
        """Say what changed since an operation was planned from the files at `profile` and `env`.

        Where they are not named, they are those that the catalog names now, if it was planned through one.
        """
        from rexecop.app.comparing import compare

        return await compare(self, self.resolve(operation), profile, env, observe=observe)

    def validate(self, operation: str) -> ValidationView:
        """Evaluate all rules again with the pinned profile; nothing is written."""
        name = self.resolve(operation)
        op = self._parts.lifecycle.known(name) or self.operation(name)
        profile = self._parts.world.contents.profile(op.the_plan.profile)
        return validation_view(op, profile)

    # --- proof ---

    def export(self, operation: str, asked: Asked) -> ExportView:
        """Write evidence a stranger can verify offline, in one of the forms of `formats`."""
        name, parts = self.resolve(operation), self._parts
        at = parts.witnesses.covering(name) if asked.witnessed else None
        at = parts.evidence.stamped(name) if asked.stamped else at
        return parts.evidence.export(name, asked, self._clock.now(), at)

    async def export_window(self, target: str | None, asked: Asked) -> ExportView:
        """Write the evidence of all changes, of `target` or of any, that were recorded in a window."""
        return await self._parts.evidence.export_window(target, asked, self._clock.now())

    def erase(self, operation: str, *, step: str | None, rule: str, reason: str) -> ErasureView:
        """Erase kept outputs for good, by a record that says who, why and by which rule."""
        store, op, by = self._parts.ledger, self.operation(operation), self.identity().principal
        return erase_outputs(store, self._parts.world.clock, op, step, by, rule, reason)

    def log_checkpoint(self) -> str:
        """Return the newest signed checkpoint, covering everything appended."""
        return self._parts.evidence.checkpoint()

    def log_export(self, folder: Path, progress: Callable[[int, int], None]) -> Mapping[str, Json]:
        """Write the log as tiles into `folder`, or add to them what is new."""
        from rexecop.app.logs import export_tiles

        return export_tiles(self._parts.store, self._parts.evidence.covering(), folder, progress)

    def log_publish(self) -> tuple[CheckView, ...]:
        """Give the newest checkpoint to every sink."""
        return self._parts.sinks.publish()

    def witness_request(self, since: int | None = None) -> str:
        """Return what to send to a witness so that it cosigns the newest checkpoint."""
        return self._parts.witnesses.request(since).decode()

    def witness_add(self, answer: bytes) -> CosignedView:
        """Keep what a witness answered."""
        return self._parts.witnesses.add(answer)

    @property
    def unpublished(self) -> tuple[str, ...]:
        """Once closed: which sinks did not take the newest checkpoint, and why."""
        return self._parts.sinks.failures

    def log_prove(self, operation: str, n: int) -> Mapping[str, Json]:
        """Prove that one record is in the log."""
        return self._parts.evidence.prove(self.resolve(operation), n)

    def log_consistency(self, old: int, new: int | None = None) -> Mapping[str, Json]:
        """Prove that the log of `new` records extends the one of `old`."""
        return self._parts.evidence.consistency(old, new)

    async def stamp_request(self) -> tuple[int, bytes]:
        """Return the size of the newest checkpoint, and what to send to a time stamp authority for it."""
        return await self._parts.stamps.request()

    async def stamp_add(self, path: Path) -> StampView:
        """Keep what the authority answered, beside the checkpoint it is of."""
        return await self._parts.stamps.add(read_file(path, bytes_max=STAMP_BYTES_MAX))

    # --- keys and health ---

    def trusted_keys(self) -> Sequence[KeyView]:
        """Return every key this instance trusts or trusted."""
        return self._parts.keyring.view()

    async def key_new(self, person: str, role: str, path: Path, expires: str | None = None) -> KeyView:
        """Make a key pair at `path` and enrol it."""
        self._parts.ledger.require_sure()  # A key that nothing enrols should not be left behind.
        return await self._parts.keyring.create(path, person, Role(role), os_user(), expires)

    async def key_trust(self, source: str, person: str, role: str, expires: str | None = None) -> KeyView:
        """Enrol a public key, from a file or as a line."""
        return await self._parts.keyring.trust(source, person, Role(role), os_user(), expires)

    async def key_rotate(
        self, *, forget: bool = False, reason: str | None = None, expires: str | None = None
    ) -> KeyView:
        """Give the instance a new key; the view's `path` is where the old one is kept, unless forgotten."""
        key = self._parts.key
        view = await self._parts.keyring.rotate_instance(key, os_user(), reason, expires)
        if key.kept is not None and forget:
            key.kept.unlink()
        return view if key.kept is None or forget else replace(view, path=str(key.kept))

    async def key_replace(
        self, source: str, person: str, role: str, reason: str | None = None, expires: str | None = None
    ) -> KeyView:
        """Enrol a public key of a person in the place of what they have in that role."""
        keyring = self._parts.keyring
        return await keyring.rotate_person(source, person, Role(role), os_user(), reason, expires)

    async def keys_trust(self, source: Path, role: str) -> tuple[KeyView, ...]:
        """Enrol the keys of an `allowed_signers` file, each for the person its line names."""
        world, keyring = self._parts.world, self._parts.keyring
        return await enrol_file(keyring, source, Role(role), os_user(), world.clock.now())

    def allowed_signers(self) -> str:
        """Return the enrolled approvers as an `allowed_signers` file."""
        return listing(self._parts.authority.enrolments())

    async def key_revoke(self, fingerprint: str) -> KeyView:
        """Stop trusting a key from now on."""
        return await self._parts.keyring.revoke(fingerprint, os_user())

    def unknown_to_policy(self, person: str) -> Path | None:
        """Return the file to add `person` to where no policy pack names them, else None."""
        policy = self._parts.authority.policy()
        if policy.entities.type_of(person) is not None:
            return None
        return self._parts.settings.root / "policy" / "starter" / "entities.yaml"

    def check(self, *, fix: bool = False, catalog: Path | None = None) -> DoctorView:
        """Look at storage, keys, isolation, clock and policy, and at a `catalog`."""
        return self._parts.doctor.check(fix=fix, catalog=catalog)

    @property
    def settings(self) -> Settings:
        """The settings this instance was opened with."""
        return self._parts.settings

    @property
    def margin(self) -> timedelta:
        """How long after permit and call have run out an unknown outcome may be settled."""
        return timedelta(milliseconds=self._parts.settings.reconcile_margin_ms)
