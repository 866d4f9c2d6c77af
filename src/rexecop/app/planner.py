"""From what somebody asks for to a stored intent, plan and decision."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Final

from rexecop.app.authority import RootAuthority
from rexecop.app.backends import refusal
from rexecop.app.configuration import OutsideConfiguration
from rexecop.app.contents import PinnedContents
from rexecop.app.errors import RequestConflict
from rexecop.app.files import FolderWatch, read_file
from rexecop.app.identity import Identity
from rexecop.app.profiles import find_profile
from rexecop.app.reviewing import overdue_of
from rexecop.engines.asking import ask, block, consult, record_decision
from rexecop.engines.closing import close
from rexecop.engines.recent import counted
from rexecop.engines.session import Session
from rexecop.engines.world import World
from rexecop.governance.admission import Answer, Policy
from rexecop.governance.windows import is_held
from rexecop.lanes.script import file_digest
from rexecop.lanes.secrets import Secrets
from rexecop.operations.catalogs import NOTE, Through
from rexecop.operations.environment import Environment, load_environment
from rexecop.operations.errors import ClaimTaken, LaneUnavailable, ModeRefused
from rexecop.operations.pinned_files import (
    ProfileSignature,
    environment_snapshot,
    profile_snapshot,
    read_signature,
)
from rexecop.operations.planning import PlanDraft, PlanRequest, compile_plan
from rexecop.operations.planning_http import keyed
from rexecop.operations.ports import Claim, Note, PinnedInput, Signature
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.publishing import NOTE as NOTE_OF_IT
from rexecop.proof.publishing import SIGNATURE_ROLE
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import PolicyRequest
from rexecop.proof.records.intent import INTENT_NAMESPACE, Intent, Origin
from rexecop.proof.records.plan import Pinned, Plan, SignedProfile
from rexecop.proof.request import policy_request
from rexecop.proof.sshsig import sign
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Gate, Isolation, Mode

DRAFTS_MAX = 256  # Plans kept in memory, a few kilobytes each; a busy instance sees few kinds of request.
KEPT_STEPS_MAX = 64  # Of a plan that is kept; a larger one is compiled anew, which is little beside its work.


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request that became a plan, with the inputs it pins."""

    draft: PlanDraft
    inputs: tuple[PinnedInput, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What a request follows from: its origin, what that names, and what may follow from it only once."""

    origin: Origin
    inputs: tuple[PinnedInput, ...]
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInput:
    """What somebody asks for, by names and paths. `channel` is the door it came through, with its `event`.

    `break_glass` is why it cannot wait for what policy usually asks; `catalog` is where names came from.
    Where nobody asked, `cause` is why. `claims` are used up by the plan. `operation` is the id that a new
    operation gets, where something has to know it before. What was `prepared` comes of no files.
    A `refusal` blocks the plan, whatever policy says. What it `uses` is used up unless it is blocked.
    """

    profile: str
    env: str
    intent: str
    target: str
    mode: str = Mode.DRY_RUN.value
    parameters: Mapping[str, Json] | None = None
    reason: str | None = None
    idempotency_key: str | None = None
    channel: str = "cli"
    sponsor: str | None = None
    override_window: str | None = None
    observe: bool | None = None
    catalog: Through | None = None
    break_glass: str | None = None
    event: Digest | None = None
    cause: Cause | None = None
    claims: tuple[Claim, ...] = ()
    operation: str | None = None
    prepared: Prepared | None = None
    refusal: str | None = None
    uses: tuple[Claim, ...] = ()


PLANNED: Final = "planned"  # On the board: what was planned and did not begin, and from which files.


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where profile and environment were: names, or absolute paths on the machine that planned."""

    profile: str
    env: str


def noted(asked: PlanInput, operation: str) -> Note:
    """Return what stands on the board until `operation`, planned from the files of `asked`, begins."""
    found = find_profile(asked.profile)
    profile = os.path.abspath(found.folder) if found.source == str(found.folder) else asked.profile
    source = Source(profile=profile, env=os.path.abspath(asked.env))
    return Note(kind=PLANNED, name=operation, body=encode(source))


class Planner:
    """Plans operations for one instance."""

    def __init__(
        self,
        world: World,
        authority: RootAuthority,
        contents: PinnedContents,
        isolation: Callable[[], Mapping[Isolation, bool]],
        secrets: Secrets,
    ) -> None:
        self._world = world
        self._authority = authority
        self._contents = contents
        self._isolation = isolation
        self._secrets = secrets
        self._watches: dict[Path, tuple[FolderWatch, ...]] = {}
        self._profiles: dict[Path, tuple[Profile, bytes, ProfileSignature]] = {}
        self._environments: dict[Path, tuple[bytes, Environment, bytes]] = {}
        self._drafts: dict[tuple[object, ...], PlanDraft] = {}
        # Threads of the service ask what there is to ask for while its loop plans.
        self._files = Lock()

    def prepare(self, asked: PlanInput) -> Prepared:
        """Return what would run; nothing is stored and no target is touched.

        Raises:
            OperationsError: as `operations.planning.compile_plan` and the loaders.
        """
        if asked.prepared is not None:
            return asked.prepared
        profile, pinned_profile, signature = self._profile(asked.profile)
        environment, pinned_environment = self._environment(Path(asked.env))
        request = PlanRequest(
            intent=asked.intent,
            target=asked.target,
            mode=_mode(asked.mode),
            parameters=asked.parameters or {},
        )
        try:
            draft = self._draft(request, profile, environment)
        except LaneUnavailable as error:
            raise refusal(error) or error from None
        draft, pinned_signature = self._signed(draft, signature)
        inputs: tuple[PinnedInput, ...] = (
            PinnedInput(digest=profile.digest, role="profile", data=pinned_profile),
            PinnedInput(digest=environment.digest, role="environment", data=pinned_environment),
            *pinned_signature,
        )
        if (through := asked.catalog) is not None:
            draft = replace(draft, notes=through.noted(draft.notes))
            inputs += (PinnedInput(digest=through.binding.digest, role=NOTE, data=through.data),)
        return Prepared(draft=draft, inputs=inputs)

    def _draft(self, request: PlanRequest, profile: Profile, environment: Environment) -> PlanDraft:
        """Return what would run; the same request of the same files is compiled once.

        What the files refer to may be another thing each time.
        """
        isolation, outside = self._isolation(), OutsideConfiguration(self._secrets)
        if request.parameters:
            return compile_plan(request, profile, environment, isolation, outside, observed_file)
        asked = (request.intent, request.target, request.mode)
        seen = map(observed_file, profile.interpreters)
        key = (profile.digest, environment.digest, *asked, *isolation.items(), *seen)
        draft = self._drafts.get(key)
        if draft is None:
            draft = compile_plan(request, profile, environment, isolation, outside, observed_file)
            if outside.used or len(draft.steps) > KEPT_STEPS_MAX:
                return draft
            if len(self._drafts) >= DRAFTS_MAX:
                self._drafts.clear()
            self._drafts[key] = draft
        return draft

    def _signed(self, draft: PlanDraft, found: ProfileSignature) -> tuple[PlanDraft, tuple[PinnedInput, ...]]:
        """Return `draft` with what the signature beside its profile says, and the signature."""
        if found.key is None:
            if found.problem is None:
                return draft, ()
            return replace(draft, notes={**(draft.notes or {}), NOTE_OF_IT: found.problem}), ()
        pinned = PinnedInput(digest=digest_of(found.data), role=SIGNATURE_ROLE, data=found.data)
        signed = SignedProfile(
            fingerprint=found.key,
            digest=draft.profile.digest,
            signature=pinned.digest,
            person=self._authority.publisher(found.key, self._world.clock.now()),
        )
        return replace(draft, signed=signed), (pinned,)

    def _profile(self, name: str) -> tuple[Profile, bytes, ProfileSignature]:
        """Return a profile, its snapshot and its signature, parsed again only when a file changed."""
        found = find_profile(name)
        folder = found.folder
        with self._files:
            watches = self._watches.setdefault(folder, found.watches())
            changed = [watch.changed() for watch in watches]  # Each says what it saw since it was asked last.
            if any(changed) or folder not in self._profiles:
                self._profiles.pop(folder, None)
                files = found.files
                profile, pinned = load_profile(files), profile_snapshot(files)
                self._contents.remember(profile.digest, profile, files)
                self._profiles[folder] = (profile, pinned, read_signature(files, profile.digest))
            return self._profiles[folder]

    def _environment(self, path: Path) -> tuple[Environment, bytes]:
        """Return an environment and its snapshot, parsed again only when the file's bytes changed."""
        data = read_file(path)
        kept = self._environments.get(path)
        if kept is None or kept[0] != data:
            files = {path.name: data}
            kept = self._environments[path] = (data, load_environment(files), environment_snapshot(files))
            self._contents.remember_environment(kept[1])
        return kept[1], kept[2]

    def remember(self, profile: Profile, files: Mapping[str, bytes], environment: Environment) -> None:
        """Keep what comes of no files that could be read again, for the policy in force for it."""
        self._contents.remember(profile.digest, profile, files)
        self._contents.remember_environment(environment)

    def profile(self, name: str) -> Profile:
        """Return the profile `name`, or at that path.

        Raises:
            OperationsError: there is none, or it is malformed.
        """
        return self._profile(name)[0]

    def environment(self, path: Path) -> Environment:
        """Return the environment in the file at `path`.

        Raises:
            OperationsError: it is none.
        """
        return self._environment(path)[0]

    def observation(self, asked: PlanInput) -> tuple[PlanInput, timedelta] | None:
        """Return the read that a change should rest on, and how old what it found may be.

        That is what the intent names under `observe`, with its `observe_max_age`.
        """
        if _mode(asked.mode) not in (Mode.APPLY, Mode.RECOVERY) or asked.prepared is not None:
            return None
        profile, _, _ = self._profile(asked.profile)
        intent = profile.intents.get(asked.intent)
        if intent is None or intent.observe is None:
            return None
        look = profile.intents.get(intent.observe)
        takes = look.parameters.names if look is not None and look.parameters is not None else frozenset()
        given = {name: value for name, value in (asked.parameters or {}).items() if name in takes}
        read = replace(
            asked,
            intent=intent.observe,
            mode=Mode.READ_ONLY.value,
            parameters=given or None,
            idempotency_key=None,
            override_window=None,
            observe=False,
            break_glass=None,
            event=None,
            claims=(),
            operation=None,
            refusal=None,
            uses=(),
        )
        return read, timedelta(milliseconds=intent.observe_max_age_ms or 0)

    def foresee(self, asked: PlanInput, identity: Identity) -> tuple[Answer, PolicyRequest, Policy]:
        """Return what policy would answer to `asked`, what it would be asked, and itself; nothing is stored.

        Nobody outside is asked about what may never be.

        Raises:
            OperationsError: the request is no plan.
        """
        prepared = self.prepare(asked)
        session = Session(self._world.store, self._world.clock, self._world.ids.operation())
        self.draft_records(session, asked, prepared.draft, identity)
        profile, environment = prepared.draft.profile.digest, prepared.draft.environment.digest
        return *self.decide(session, prepared.draft, asked.refusal), self._authority.policy(
            profile, environment
        )

    async def plan(
        self, asked: PlanInput, identity: Identity, pinned: Pinned | None = None, *, at_once: bool = False
    ) -> Session:
        """Store intent, plan and decision; a blocked one with its receipt.

        `pinned` are the facts of an observation the plan rests on. Where it is not carried out `at_once`,
        it stands on the board what files it was planned from.

        Raises:
            OperationsError: the request is no plan; nothing was stored.
            RequestConflict: the idempotency key was used for another request.
        """
        prepared = self.prepare(asked)
        earlier = self._earlier(asked, prepared.draft, identity)
        if earlier is not None:
            return earlier
        name = asked.operation or self._world.ids.operation()
        session = Session(self._world.store, self._world.clock, name)
        self.draft_records(session, asked, prepared.draft, identity, pinned)
        answer, request = self.decide(session, prepared.draft, asked.refusal)
        answer = await consult(self._world.opinions, answer, request)
        record_decision(session, request, answer)
        if session.op.receipt_due:
            close(session, self._world.signer)
        else:
            session.attached.claims.extend(asked.uses)
            if not at_once and asked.catalog is None and asked.prepared is None:
                session.attached.notes.append(noted(asked, session.id))
        session.attached.inputs.extend((*prepared.inputs, *self._authority.pinned_packs()))
        if asked.cause is not None:
            session.attached.inputs.extend(asked.cause.inputs)
            session.attached.claims.extend(asked.cause.claims)
        try:
            await session.flush()
        except ClaimTaken:
            # The same request came twice at once; the other one was stored.
            earlier = self._earlier(asked, prepared.draft, identity)
            if earlier is None:
                raise
            return earlier
        return session

    def repeated(self, asked: PlanInput, identity: Identity) -> Session | None:
        """Return the operation that `asked` stands for already, by its idempotency key.

        Raises:
            OperationsError: the request is no plan. RequestConflict: the key stands for another request.
        """
        return (
            None
            if asked.idempotency_key is None
            else self._earlier(asked, self.prepare(asked).draft, identity)
        )

    def draft_records(
        self,
        session: Session,
        asked: PlanInput,
        draft: PlanDraft,
        identity: Identity,
        pinned: Pinned | None = None,
    ) -> None:
        """Hold intent and plan in `session`; nothing is stored before its flush."""
        self._ask(session, asked, draft, identity)
        session.add(
            Plan,
            intent=session.op.sealed_intent.digest,
            profile=draft.profile.digest,
            environment=draft.environment.digest,
            effect=draft.effect,
            risk=draft.risk,
            targets=draft.targets,
            steps=keyed(draft.steps, session.id),
            pinned=pinned,
            notes=draft.notes,
            parallel=draft.parallel,
            rollout=draft.rollout,
            called=draft.called,
            signed=draft.signed,
        )
        if asked.break_glass is not None:
            session.add(Command, identity.principal, verb=Verb.BREAK_GLASS, reason=asked.break_glass)

    def decide(
        self, session: Session, draft: PlanDraft, refusal: str | None = None
    ) -> tuple[Answer, PolicyRequest]:
        """Return the policy's answer to the plan in `session`, and what it was asked; a `refusal` is a no."""
        op, store = session.op, self._world.store
        policy = self._authority.policy(draft.profile.digest, draft.environment.digest)
        request = policy_request(op.the_intent, op.the_plan, gate=Gate.PLAN, now=session.judged_now())
        request = counted(policy, store, session.id, request)
        schedule = self._contents.schedule(draft.environment.digest) if is_held(request) else None
        answer = ask(policy, request, op.the_plan, schedule)
        overdue = overdue_of(store, request.principal.person, request.now) if request.break_glass else None
        if overdue is not None:
            words = f"the review of operation {overdue.number} is overdue since {format_time(overdue.by)}"
            answer = block(answer, f"no glass is broken while {words}: `rexecop review list`")
        return answer if refusal is None else block(answer, refusal), request

    def _ask(self, session: Session, asked: PlanInput, draft: PlanDraft, identity: Identity) -> None:
        sealed = session.add(
            Intent,
            identity.principal,
            profile=draft.profile,
            environment=draft.environment,
            intent=draft.intent,
            target=draft.target,
            mode=draft.mode,
            origin=asked.cause.origin if asked.cause else Origin(channel=asked.channel, event=asked.event),
            parameters=draft.parameters,
            sponsor=asked.sponsor or self._sponsor(identity),
            reason=asked.reason or asked.break_glass,
            idempotency_key=asked.idempotency_key,
            break_glass=asked.break_glass is not None,
            override_window=asked.override_window,
        )
        sign_intent(session, sealed, identity)
        session.attached.claims.extend(asked.claims)
        if asked.idempotency_key is not None:
            session.attached.claims.append(_key_claim(asked.idempotency_key, identity))

    def _sponsor(self, identity: Identity) -> str | None:
        """Return who answers for an agent that asks, as it came with or else as the operator's packs say."""
        return identity.sponsor or self._authority.policy().entities.agents.get(identity.principal.person)

    def _earlier(self, asked: PlanInput, draft: PlanDraft, identity: Identity) -> Session | None:
        """Return the operation an idempotency key already stands for."""
        if asked.idempotency_key is None:
            return None
        operation = self._world.store.claimed(_key_claim(asked.idempotency_key, identity))
        if operation is None:
            return None
        session = Session.load(self._world.store, self._world.clock, operation)
        known = session.op.the_intent
        same = (known.profile, known.environment, known.intent, known.target, known.mode, known.parameters)
        meant = (draft.profile, draft.environment, draft.intent, draft.target, draft.mode, draft.parameters)
        if (*same, known.break_glass) != (*meant, asked.break_glass is not None):
            raise RequestConflict(
                f"idempotency key `{asked.idempotency_key[:60]}` stands for another request",
                operation_id=operation,
                next_steps=(f"rexecop show {operation}",),
            )
        return session


def sign_intent(session: Session, sealed: Sealed, identity: Identity) -> None:
    """Keep beside the intent the signature of who asks, where a key established them."""
    if identity.signer is not None:
        armored = sign(identity.signer, INTENT_NAMESPACE, sealed.body)
        session.attached.signatures.append(
            Signature(digest=sealed.digest, form="sshsig", data=armored.encode())
        )


def observed_file(path: str) -> Digest | None:
    """Return the digest of the file at `path`, None where it cannot be read."""
    try:
        return file_digest(path)
    except OSError:
        return None


def _mode(name: str) -> Mode:
    """Return the mode called `name`.

    Raises:
        ModeRefused: there is none.
    """
    allowed = ", ".join(Mode)
    if name not in tuple(Mode):
        raise ModeRefused(f"no mode `{name:.60}`; there are {allowed}", found=name[:60], allowed=allowed)
    return Mode(name)


def _key_claim(key: str, identity: Identity) -> Claim:
    return Claim(space="idempotency", key=f"{identity.principal.person}:{key}")
