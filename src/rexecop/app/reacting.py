"""Reactions in an instance: from what an operation recorded to the one read that follows from it.

Nothing here is kept beside the ledger. What a reaction rests on is pinned with the intent it asks for, in
one transaction with the claims that make it the only one; anything else follows from the records again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from rexecop.app.clock import SystemClock
from rexecop.app.contents import PinnedContents
from rexecop.app.escalations import Escalation, left_by, settle, standing
from rexecop.app.instance import Instance
from rexecop.app.notices import EVERYBODY
from rexecop.app.planner import Cause, PlanInput
from rexecop.app.profiles import find_profile
from rexecop.app.views import OperationView
from rexecop.operations.errors import ClaimTaken, ObservationRefused, OperationUnknown
from rexecop.operations.fold import Operation
from rexecop.operations.ports import Claim, PinnedInput
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile, ReactionPack
from rexecop.operations.proposals import Proposal, propose
from rexecop.operations.reactions import (
    DEPTH_MAX,
    SCHEMA,
    VERSION,
    Chain,
    Reaction,
    observe,
    react,
    reaction_id,
    rule_digest,
)
from rexecop.operations.reading import NAME
from rexecop.proof.canonical import Digest, canonical_bytes, digest_of, is_digest, parse_json
from rexecop.proof.codec import encode, from_json
from rexecop.proof.errors import ProofError
from rexecop.proof.reaction import (
    ARTIFACT,
    OBSERVATION_ROLE,
    REACTION,
    RULE_ROLE,
    Observation,
    ObservedProfile,
    Reacts,
    Source,
)
from rexecop.proof.records.intent import Origin
from rexecop.proof.vocabulary import READ_MODES, Mode

BYTES_MAX: Final = 256 * 1024
FACTS_BYTES_MAX: Final = 16 * 1024  # What a diagnosis may say.
TRIES_MAX: Final = 8  # Each time somebody else's reaction was stored first, so they are no more than these.
STORED: Final = "reaction"  # The space of claims to be the one reaction of an id.
TOLD: Final = "reaction-escalated"
NOTHING: Final = Chain()


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingView:
    """A rule that holds; the one that `decides` has the lowest priority."""

    rule: str
    priority: int
    kind: str
    severity: str
    summary: str
    outcome: str
    intent: str | None
    decides: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionView:
    """What follows from an observation. `why` is why the outcome is another than the rule's.

    `child` is the operation that was planned, and `repeated` that it had been before. `waits` is whether it
    is left to a person who has not reviewed it.
    """

    reaction_id: str
    outcome: str
    intent: str | None
    why: str | None
    parent: str
    target: str
    depth: int
    pack: str
    observation: Digest
    rule: Digest
    findings: tuple[FindingView, ...]
    child: OperationView | None = None
    repeated: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayView:
    """Whether a recorded reaction follows again from the records; what differs where it does not."""

    reaction_id: str
    verdict: str
    differences: tuple[str, ...]
    view: ReactionView


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A reaction with where it stands, and the claims that make it the only one."""

    observation: Observation
    reaction: Reaction
    id: str
    depth: int
    child: str | None
    claims: tuple[Claim, ...]


def read_observation(data: bytes) -> Observation:
    """Return the observation that the JSON object `data` is.

    Raises:
        ObservationRefused: it is none, with what is wrong and where.
    """
    try:
        return from_json(Observation, parse_json(data, bytes_max=BYTES_MAX))
    except ProofError as error:
        field = str(error.facts.get("field", ""))
        raise ObservationRefused(f"no observation: {error.message}", field=field) from error


def said_before(depth: int, reactions: int, rules: Sequence[str]) -> Chain:
    """Return what a caller says happened before a reaction.

    Raises:
        ObservationRefused: one of `rules` is no digest.
    """
    for rule in rules:
        if not is_digest(rule):
            allowed = "`sha256:` and 64 hex digits"
            words = f"`{rule:.80}` is no digest of a rule, which is {allowed}"
            raise ObservationRefused(words, field="rule", found=rule[:80], allowed=allowed)
    return Chain(depth=depth, reactions=reactions, rules=frozenset(map(Digest, rules)))


def envelope(profile: str, data: bytes, operation: str, intent: str, target: str) -> Observation:
    """Return `data`, facts as a JSON object, as an observation of now by the installed `profile`.

    It is the word of whoever calls this; a reaction is planned only where the records say the same.

    Raises:
        ObservationRefused: the facts are none, or too large.
    """
    found, now = load_profile(find_profile(profile).files), SystemClock().now()
    try:
        facts = parse_json(data, bytes_max=FACTS_BYTES_MAX)
    except ProofError as error:
        raise ObservationRefused(f"no facts: {error.message}", field="facts") from error
    if not isinstance(facts, dict) or not NAME.fullmatch(operation) or not NAME.fullmatch(target):
        raise ObservationRefused("facts are a JSON object, and operation and target names", field="facts")
    return Observation(
        artifact_type=ARTIFACT,
        schema_ref=SCHEMA,
        schema_version=VERSION,
        observation_id=f"observation:{operation}:{target}",
        observed_at=now,
        profile_ref=ObservedProfile(id=found.name, version=found.version, digest=found.digest),
        source=Source(operation_id=operation, intent_id=intent, target_id=target),
        facts=facts,
    )


def as_text(value: Observation | Proposal) -> str:
    """Return `value` as one line of canonical JSON."""
    return encode(value).decode()


class Reacting:
    """The reactions of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._store = instance.parts.world.store
        self._contents = PinnedContents(self._store)

    # --- observations ---

    def observation(self, operation: str, target: str | None = None) -> Observation:
        """Return what `operation` observed of `target`; raises as `operations.reactions.observe`."""
        op = self._instance.operation(operation)
        return observe(op, target, self._contents.profile(op.the_intent.profile.digest))

    def recorded(self, said: Observation) -> Observation:
        """Return the observation as the ledger has it, where `said` holds the same.

        Raises:
            ObservationRefused: the records say something else.
            OperationUnknown: the ledger has no such operation.
        """
        found = self.observation(said.source.operation_id, said.source.target_id)
        for field in ("artifact_type", "schema_version", "profile_ref", "source", "facts"):
            if getattr(said, field) != getattr(found, field):
                message = f"`{field}` is not what operation {found.source.operation_id} recorded"
                raise ObservationRefused(
                    message, field=field, next_steps=(f"rexecop show {found.source.operation_id}",)
                )
        return found

    # --- planning ---

    async def plan(
        self,
        observation: Observation,
        profile: str | None,
        env: str,
        mode: str = Mode.READ_ONLY,
        said: Chain = NOTHING,
    ) -> ReactionView:
        """Plan what follows from a recorded observation, once; where people are needed, tell them.

        What the caller `said` happened before counts beside what is recorded, and never instead of it.

        Raises:
            ObservationRefused: the profile or the environment is another than the observation's.
            OperationsError: what the rule asks for is no plan.
        """
        if mode not in READ_MODES:
            allowed = ", ".join(sorted(READ_MODES))
            raise ObservationRefused(f"a reaction only reads, not `{mode:.40}`", allowed=allowed)
        judged, tries = self._judge(observation, said), 1
        while judged.child is None and judged.reaction.intent is not None:
            try:
                child = await self._instance.plan(self._asked(judged, profile, env, mode))
                self._settle(judged, over=True)
                return replace(self._view(judged), child=child)
            except ClaimTaken:
                if tries >= TRIES_MAX:
                    raise
            judged, tries = self._judge(observation, said), tries + 1
        escalates = judged.child is None and judged.reaction.outcome is Reacts.ESCALATE
        self._settle(judged, over=not escalates)
        if escalates:
            await self._tell(judged)
        return self._view(judged)

    def _asked(self, judged: _Judged, profile: str | None, env: str, mode: str) -> PlanInput:
        source, reference = judged.observation.source, judged.observation.profile_ref
        rule = judged.reaction.rule
        asked = PlanInput(
            profile=profile or reference.id,
            env=env,
            intent=judged.reaction.intent or "",
            target=source.target_id,
            mode=mode,
            reason=f"{judged.id}: rule {rule.id} of {rule.pack} found {rule.finding.kind}",
            channel=REACTION,
            observe=False,
            cause=Cause(
                origin=Origin(
                    channel=REACTION,
                    event=digest_of(encode(judged.observation)),
                    rule=rule_digest(rule),
                    parent=source.operation_id,
                ),
                inputs=(
                    _pinned(OBSERVATION_ROLE, encode(judged.observation)),
                    _pinned(RULE_ROLE, encode(rule)),
                ),
                claims=judged.claims,
            ),
        )
        draft = self._instance.parts.planner.prepare(asked).draft
        before = self._instance.operation(source.operation_id).the_intent
        for what, one, other in (
            ("profile", draft.profile.digest, reference.digest),
            ("environment", draft.environment.id, before.environment.id),
        ):
            if one != other:
                message = (
                    f"the {what} is another than when operation {source.operation_id} looked; look again"
                )
                raise ObservationRefused(message, field=what, found=one, allowed=other)
        return asked

    def _settle(self, judged: _Judged, *, over: bool) -> None:
        """Leave to people what only they can decide, until all is well or one of them reviewed it."""
        source, world = judged.observation.source, self._instance.parts.world
        found = Escalation(
            operation=source.operation_id,
            target=source.target_id,
            observed=judged.observation.observed_at,
            since=world.clock.now(),
            text=_needs(judged.reaction),
            reaction=judged.id,
        )
        settle(self._store, self._instance.operation(source.operation_id), found, over=over)

    async def _tell(self, judged: _Judged) -> None:
        parent = self._instance.operation(judged.observation.source.operation_id)
        text = _needs(judged.reaction)
        await self._instance.parts.telling.tell(parent, TOLD, [EVERYBODY], about=judged.id, text=text)

    # --- judging ---

    def _judge(self, observation: Observation, said: Chain = NOTHING) -> _Judged:
        pack, op = self.pack(observation), self._instance.operation(observation.source.operation_id)
        first = react(pack, observation.facts, Chain()).rule
        turn = digest_of(
            canonical_bytes([rule_digest(first), op.the_intent.environment.id, observation.source.target_id])
        )
        root, chain = self._chain(op, observation.source.target_id)
        number = chain.reactions + 1
        chain = Chain(
            depth=max(chain.depth, said.depth),
            rules=chain.rules | said.rules,
            reactions=max(chain.reactions, said.reactions),
        )
        turns = self._uses("reaction-turn", turn) if pack.budgets.cooldown_ms else 0
        if turns and self._recent(Claim(space="reaction-turn", key=f"{turn}/{turns}"), pack):
            chain = replace(chain, cooling=frozenset({rule_digest(first)}))
        name = reaction_id(observation, first)
        stored = Claim(space=STORED, key=name)
        child = self._store.claimed(stored)
        claims = [stored, Claim(space="reaction-chain", key=f"{root}/{number}")]
        if pack.budgets.cooldown_ms:
            claims.append(Claim(space="reaction-turn", key=f"{turn}/{turns + 1}"))
        return _Judged(
            observation=observation,
            # What was planned stays what followed, whatever came after it.
            reaction=react(pack, observation.facts, chain if child is None else Chain()),
            id=name,
            depth=chain.depth,
            child=child,
            claims=tuple(claims),
        )

    def _chain(self, op: Operation, target: str) -> tuple[str, Chain]:
        """Return what a chain on `target` is counted under, and what happened in it up to `op`."""
        rules: list[Digest] = []
        while op.the_intent.origin.channel == REACTION and len(rules) <= DEPTH_MAX:
            origin = op.the_intent.origin
            if origin.rule is None or origin.parent is None:
                break
            rules.append(origin.rule)
            op = self._instance.operation(origin.parent)
        root = f"{op.id}/{target}"
        reactions = self._uses("reaction-chain", root)
        return root, Chain(depth=len(rules), rules=frozenset(rules), reactions=reactions)

    def _uses(self, space: str, stem: str) -> int:
        """Return how many were claimed; they are claimed one after the other, from 1."""
        low, high = 0, 1
        while self._store.claimed(Claim(space=space, key=f"{stem}/{high}")) is not None:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            if self._store.claimed(Claim(space=space, key=f"{stem}/{middle}")) is None:
                high = middle
            else:
                low = middle
        return low

    def _recent(self, last: Claim, pack: ReactionPack) -> bool:
        operation = self._store.claimed(last)
        if operation is None:
            return False
        apart = timedelta(milliseconds=pack.budgets.cooldown_ms)
        return self._instance.parts.world.clock.now() - self._store.row(operation)[1].created < apart

    def pack(self, observation: Observation) -> ReactionPack:
        """Return the rules of the profile that the observation was made by.

        Raises:
            ObservationRefused: it has none.
        """
        profile = self.profile(observation)
        if profile.reactions is None:
            raise ObservationRefused(f"profile `{profile.name}` has no reactions")
        return profile.reactions

    def profile(self, observation: Observation) -> Profile:
        """Return the profile that the observation was made by."""
        return self._contents.profile(observation.profile_ref.digest)

    def proposal(self, observation: Observation, outcome: str | None, intent: str | None) -> Proposal:
        """Return a proposal about a recorded observation; raises as `operations.proposals.propose`."""
        reaction = self._judge(observation).reaction
        return propose(observation, reaction, outcome, intent, self.profile(observation))

    # --- looking ---

    def explain(self, name: str, target: str | None = None) -> ReactionView:
        """Return why there is the reaction `name`, or what follows from the operation so called.

        A reaction planned something, or left it to people.

        Raises:
            OperationUnknown: there is no reaction of that name, or no such operation.
        """
        left = left_by(self._store, name)
        if left is not None:
            return self._view(self._judge(self.observation(left.operation, left.target)))
        child = self.child(name) if name.startswith(f"{REACTION}-") else self._instance.operation(name)
        origin = child.the_intent.origin
        if origin.channel != REACTION or origin.parent is None:
            return self._view(self._judge(self.observation(child.id, target)))
        return self._view(self._judge(self._kept(child)))

    def child(self, name: str) -> Operation:
        """Return the operation that the reaction `name` asked for; `name` may be its operation.

        Raises:
            OperationUnknown: there is none.
        """
        if not name.startswith(f"{REACTION}-"):
            found = self._instance.operation(name)
            if found.the_intent.origin.channel == REACTION:
                return found
        operation = self._store.claimed(Claim(space=STORED, key=name))
        if operation is None:
            raise OperationUnknown(
                f"no reaction `{name:.60}` asked for anything", next_steps=("rexecop list",)
            )
        return self._instance.operation(operation)

    def _kept(self, child: Operation) -> Observation:
        """Return the observation that `child` names, as it was pinned."""
        event = child.the_intent.origin.event
        return read_observation(self._store.pinned(event or child.sealed_intent.digest))

    def replay(self, name: str) -> ReplayView:
        """Ask the rules again about what the reaction `name` rests on, and compare it with the records.

        Raises:
            OperationUnknown: there is no such reaction. InputMissing: what it rests on is gone.
        """
        child = self.child(name)
        kept, intent = self._kept(child), child.the_intent
        view = self._view(self._judge(kept))
        now = self.observation(kept.source.operation_id, kept.source.target_id)
        pairs = (
            ("observation", digest_of(encode(now)), intent.origin.event),
            ("parent", now.source.operation_id, intent.origin.parent),
            ("rule", view.rule, intent.origin.rule),
            ("intent", view.intent, intent.intent),
            ("target", now.source.target_id, intent.target),
            ("profile", now.profile_ref.digest, intent.profile.digest),
        )
        different = tuple(
            f"{what} is `{one}`, recorded was `{other}`" for what, one, other in pairs if one != other
        )
        verdict = "differs" if different else "holds"
        return ReplayView(reaction_id=view.reaction_id, verdict=verdict, differences=different, view=view)

    def _view(self, judged: _Judged) -> ReactionView:
        reaction, source = judged.reaction, judged.observation.source
        return ReactionView(
            reaction_id=judged.id,
            outcome=reaction.outcome,
            intent=reaction.intent,
            why=reaction.why,
            parent=source.operation_id,
            target=source.target_id,
            depth=judged.depth + 1,
            pack=f"{reaction.rule.pack} {reaction.rule.version}",
            observation=digest_of(encode(judged.observation)),
            rule=rule_digest(reaction.rule),
            findings=findings(reaction),
            child=None if judged.child is None else self._instance.status(judged.child),
            repeated=judged.child is not None,
            waits=any(one.reaction == judged.id for one in standing(self._store)),
        )


def findings(reaction: Reaction) -> tuple[FindingView, ...]:
    """Return every rule that holds, the one that decides first."""
    return tuple(
        FindingView(
            rule=rule.id,
            priority=rule.priority,
            kind=rule.finding.kind,
            severity=rule.finding.severity,
            summary=rule.finding.summary,
            outcome=rule.outcome,
            intent=rule.intent_ref,
            decides=rule is reaction.rule,
        )
        for rule in reaction.held
    )


def _needs(reaction: Reaction) -> str:
    finding = reaction.rule.finding
    return f"{finding.kind} needs a person: {reaction.why or finding.summary}"


def _pinned(role: str, data: bytes) -> PinnedInput:
    return PinnedInput(digest=digest_of(data), role=role, data=data)
