"""Catalogs: which targets there are, and what a profile offers for each. None gives anybody any authority.

In a catalog an *operation* is what is an intent elsewhere. What is offered follows from the profile's
own intents and the environment's own connectors; a catalog only says what of it a target is meant for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rexecop.operations.environment import Environment
from rexecop.operations.errors import (
    CatalogRefused,
    IntentUnknown,
    OperationsError,
    SecretInline,
    TargetUnknown,
)
from rexecop.operations.inline_secrets import refuse_inline_secrets
from rexecop.operations.profile_model import IntentSpec, Profile, WorkflowSpec
from rexecop.operations.reading import Node, Problems, listed, unknown
from rexecop.operations.targets import resolve_targets
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.codec import encode, from_json, to_json
from rexecop.proof.records.plan import Plan
from rexecop.proof.vocabulary import Effect, strongest

VERSION: Final = "0.1"
TARGETS_MAX: Final = 1024  # As many as the format has always taken; more are several catalogs.
NAMES_MAX: Final = 256  # Capabilities or connectors of one target; a profile has a few dozen.
CLASSIFICATION_MAX: Final = 32
REFERENCE_LENGTH_MAX: Final = 1024
NOTE: Final = "catalog"  # Under which name a plan's notes say what it was planned through.
_NEEDED: Final = "id target_kind profile_ref environment_ref capabilities connector_refs"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogTarget:
    """One target as a catalog has it; `node` is the whole entry, with its places.

    `profile_ref` is a name or a path, `environment_ref` a path; paths begin at the catalog.
    `environment_target` is what the environment calls it.
    """

    id: str
    node: Node
    kind: str
    profile_ref: str
    environment_ref: str
    environment_target: str
    capabilities: tuple[str, ...]
    connectors: tuple[str, ...]

    def part(self, key: str) -> Node:
        """Return the place of `key`, that of the entry where it is left out."""
        written = self.node.value if isinstance(self.node.value, dict) else {}
        return self.node.child(key, written[key]) if key in written else self.node

    @property
    def shown(self) -> dict[str, Json]:
        """The entry with everything that was left out."""
        return {"environment_target": self.id, "classification": {}, **self.node.mapping()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """A whole catalog. `digest` names the bytes of its file; `problems` are what was found in it so far."""

    file: str
    digest: Digest
    targets: Mapping[str, CatalogTarget]
    problems: Problems

    def target(self, name: str) -> CatalogTarget:
        """Return the entry `name`.

        Raises:
            TargetUnknown: there is none.
        """
        if name in self.targets:
            return self.targets[name]
        message = f"catalog `{self.file}` has no target `{name:.60}`"
        raise unknown(TargetUnknown, message, name, self.targets)


def load_catalog(file: str, data: bytes) -> Catalog:
    """Return the catalog in `data`.

    Raises:
        CatalogRefused: it breaks the format; SecretInline: it holds a secret. Both name file, line and field.
    """
    catalog = read_catalog(file, data)
    catalog.problems.raise_first(CatalogRefused, SecretInline)
    return catalog


def read_catalog(file: str, data: bytes) -> Catalog:
    """Return what can be read of the catalog, keeping every problem."""
    problems, targets = Problems(CatalogRefused.code), dict[str, CatalogTarget]()
    root = problems.parse(data, file)
    if root is not None:
        refuse_inline_secrets(root)
        fields = root.section("target_catalog").fields("version targets", "version targets")
        version, written = fields.get("version"), fields.get("targets")
        if version is not None and version.text() != VERSION:
            version.refuse(f"catalogs of version {VERSION} are read, no others", allowed=VERSION)
        if written is not None and written.value == []:
            written.refuse("a catalog has at least one target", allowed=f"1..{TARGETS_MAX} targets")
        for node in fields.items("targets", TARGETS_MAX):
            target = _target(node)
            if target.id in targets:
                node.refuse(f"target `{target.id}` is there twice", found=target.id)
            if target.id:
                targets[target.id] = target
    return Catalog(file=file, digest=digest_of(data), targets=targets, problems=problems)


def _target(node: Node) -> CatalogTarget:
    fields = node.fields(f"{_NEEDED} environment_target classification", _NEEDED)
    name, classes = fields.token("id"), fields.part("classification")
    if len([item.scalar() for _, item in classes.entries()]) > CLASSIFICATION_MAX:
        classes.refuse(f"`{classes.name}` has more than {CLASSIFICATION_MAX} entries")
    return CatalogTarget(
        id=name,
        node=node,
        kind=fields.token("target_kind"),
        profile_ref=fields.text("profile_ref", most=REFERENCE_LENGTH_MAX),
        environment_ref=fields.text("environment_ref", most=REFERENCE_LENGTH_MAX),
        environment_target=fields.token("environment_target", name),
        capabilities=fields.tokens("capabilities", NAMES_MAX),
        connectors=fields.tokens("connector_refs", NAMES_MAX),
    )


def check_target(entry: CatalogTarget, environment: Environment) -> None:
    """Keep what `entry` says otherwise than its environment of the target and its kind."""
    name = entry.environment_target
    try:
        resolved = resolve_targets(environment, name)
    except OperationsError as error:
        message = f"target `{entry.id}`: {error.message}"
        entry.part("environment_target").refuse(message, found=name)
        return
    kind = environment.targets[name].type if name in environment.targets else resolved[0].type
    if kind != entry.kind:
        message = (
            f"target `{entry.id}`: environment `{environment.id}` has it as `{kind}`, not `{entry.kind}`"
        )
        entry.part("target_kind").refuse(message, found=entry.kind, allowed=kind)


def usable_connectors(environment: Environment) -> frozenset[str]:
    """Return the connectors that are configured and switched on."""
    return frozenset(name for name, config in environment.connectors.items() if config.enabled)


# --- what is offered ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one intent of a profile is, as its profile says it. No kinds mean any kind of target."""

    operation: str
    profile: str
    profile_version: str
    title: str
    summary: str
    target_kinds: tuple[str, ...]
    required_capabilities: tuple[str, ...]
    required_connectors: tuple[str, ...]
    modes: tuple[str, ...]
    risk: str
    effect: Effect
    side_effect_class: str
    runbook: str

    @property
    def digest(self) -> Digest:
        """The digest by which two offers are the same."""
        return digest_of(encode(self))


class Status(StrEnum):
    """What is in the way of an operation on a target, the first in this order. None of them means allowed."""

    UNSUPPORTED_PROFILE = "unsupported_profile"
    UNSUPPORTED_TARGET_KIND = "unsupported_target_kind"
    MISSING_CAPABILITY = "missing_capability"
    MISSING_CONNECTOR = "missing_connector"
    ADMISSION_REQUIRED = "admission_required"


@dataclass(frozen=True, slots=True)
class Applicability:
    """Whether an operation can be planned for a target: `reason` in words, what it would need in `wanted`."""

    status: Status
    reason: str
    wanted: tuple[str, ...] = ()
    next: tuple[str, ...] = ()


def offers(profile: Profile, intent: str | None = None) -> tuple[Offer, ...]:
    """Return everything `profile` offers, by name, or `intent` alone.

    Raises:
        IntentUnknown: the profile has no such intent.
    """
    if intent is not None and intent not in profile.intents:
        message = f"profile `{profile.name}` has no operation `{intent:.60}`"
        raise unknown(IntentUnknown, message, intent, profile.intents)
    return tuple(
        _offer(profile, one) for name, one in sorted(profile.intents.items()) if intent in (None, name)
    )


def _offer(profile: Profile, intent: IntentSpec) -> Offer:
    workflow = profile.workflows[intent.workflow]
    steps = [step for one in _workflows(profile, intent) for step in (*one.steps, *one.rollback)]
    return Offer(
        operation=intent.id,
        profile=profile.name,
        profile_version=profile.version,
        title=intent.title,
        summary=intent.summary,
        target_kinds=intent.target_kinds,
        required_capabilities=intent.capabilities,
        required_connectors=tuple(sorted({step.connector for step in steps if step.connector})),
        modes=tuple(map(str, intent.modes)),
        risk=intent.risk or workflow.risk,
        effect=effect_of(profile, intent),
        side_effect_class=intent.side_effect,
        runbook=intent.runbook,
    )


def effect_of(profile: Profile, intent: IntentSpec) -> Effect:
    """Return the most far-reaching effect that the steps of `intent`, and of what it calls, declare."""
    actions = [
        spec.actions[step.action]
        for workflow in _workflows(profile, intent)
        for step in workflow.steps
        if (spec := profile.connectors.get(step.connector)) is not None and step.action in spec.actions
    ]
    return strongest(
        [action.effect or (Effect.CHANGE if action.mutating else Effect.READ) for action in actions]
    )


def _workflows(profile: Profile, intent: IntentSpec) -> Iterator[WorkflowSpec]:
    """Yield how `intent` is carried out, and each intent that it calls."""
    names = [intent.id]
    for name in names:
        workflow = profile.workflows[profile.intents[name].workflow]
        called = (step.calls.intent for step in workflow.steps if step.calls is not None)
        names += dict.fromkeys(one for one in called if one in profile.intents and one not in names)
        yield workflow


def applicability(offer: Offer, entry: CatalogTarget, served: str, environment: Environment) -> Applicability:
    """Return what is in the way of `offer` on `entry`, which is for the profile called `served`."""
    where = f"{entry.node.place.file}:{entry.node.place.line}"
    for name in (served, environment.profile or served):
        if name != offer.profile:
            reason = f"target `{entry.id}` is for profile `{name}`, not `{offer.profile}`"
            return Applicability(Status.UNSUPPORTED_PROFILE, reason, (offer.profile,))
    if offer.target_kinds and entry.kind not in offer.target_kinds:
        reason = f"it is for {listed(offer.target_kinds)}, and `{entry.id}` is a {entry.kind}"
        return Applicability(Status.UNSUPPORTED_TARGET_KIND, reason, offer.target_kinds)
    lacking = tuple(name for name in offer.required_capabilities if name not in entry.capabilities)
    if lacking:
        reason, step = f"`{entry.id}` does not have {listed(lacking)}", f"`capabilities` in {where}"
        return Applicability(Status.MISSING_CAPABILITY, reason, lacking, (f"add what it has to {step}",))
    usable = usable_connectors(environment)
    lacking = tuple(n for n in offer.required_connectors if n not in entry.connectors or n not in usable)
    if lacking:
        reason = f"`{entry.id}` is not reached by {listed(lacking)}"
        step = f"name it in `connector_refs` in {where}, and switch it on in environment `{environment.id}`"
        return Applicability(Status.MISSING_CONNECTOR, reason, lacking, (step,))
    reason = "nothing is in the way; policy answers when it is planned"
    return Applicability(Status.ADMISSION_REQUIRED, reason)


# --- what a plan says of it ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The catalog a plan was made through: its bytes, its entry, and its path from beside the root."""

    file: str
    digest: Digest
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """A catalog as it was read for one request, with the profile, environment and target of its entry."""

    profile: str
    env: str
    target: str
    binding: Binding
    data: bytes

    def noted(self, notes: Mapping[str, Json] | None) -> dict[str, Json]:
        """Return the notes of a plan, with the catalog."""
        return {**(notes or {}), NOTE: to_json(self.binding)}


def binding_of(plan: Plan) -> Binding | None:
    """Return what `plan` says of the catalog it was made through, None where it was made without.

    Raises:
        RecordMalformed: what it says is nothing this has ever written.
    """
    found = (plan.notes or {}).get(NOTE)
    return None if found is None else from_json(Binding, found, f"notes.{NOTE}")
