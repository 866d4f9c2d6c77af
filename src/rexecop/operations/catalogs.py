"""Catalogs: which targets there are, and what a profile offers for each. None gives anybody any authority.

In a catalog an *operation* is what is an intent elsewhere. What is offered follows from the profile's
own intents and the environment's own connectors; a catalog only says what of it a target is meant for.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from rexecop.operations.profile_model import IntentSpec, Profile
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

_KEYS: Final = (
    "id target_kind profile_ref environment_ref environment_target capabilities connector_refs classification"
)
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
    classification: Mapping[str, Json]

    def where(self, key: str = "") -> str:
        """Return file and line of the entry, or of its `key`, where an editor jumps to."""
        place = self.part(key).place
        return f"{place.file}:{place.line}"

    def part(self, key: str) -> Node:
        """Return the place of `key`, that of the entry where it is left out."""
        written = self.node.value if isinstance(self.node.value, dict) else {}
        return self.node.child(key, written[key]) if key in written else self.node


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """A whole catalog. `digest` names the bytes of its file."""

    file: str
    digest: Digest
    targets: Mapping[str, CatalogTarget]

    def target(self, name: str) -> CatalogTarget:
        """Return the entry `name`.

        Raises:
            TargetUnknown: there is none.
        """
        found = self.targets.get(name)
        if found is None:
            raise unknown(
                TargetUnknown, f"catalog `{self.file}` has no target `{name:.60}`", name, self.targets
            )
        return found


def load_catalog(file: str, data: bytes) -> Catalog:
    """Return the catalog in `data`.

    Raises:
        CatalogRefused: it breaks the format; SecretInline: it holds a secret. Both name file, line and field.
    """
    problems = Problems(CatalogRefused.code)
    catalog = read_catalog(file, data, problems)
    problems.raise_first(CatalogRefused, SecretInline)
    return catalog


def read_catalog(file: str, data: bytes, problems: Problems) -> Catalog:
    """Return what can be read of the catalog, keeping every problem."""
    targets: dict[str, CatalogTarget] = {}
    root = problems.parse(data, file)
    if root is not None:
        refuse_inline_secrets(root)
        top = root.section("target_catalog")
        fields = top.fields("version targets", "version targets")
        if (version := fields.get("version")) is not None and version.text() != VERSION:
            version.refuse(
                f"this reads catalogs of version {VERSION}", found=str(version.value), allowed=VERSION
            )
        nodes = fields.items("targets", TARGETS_MAX)
        if (written := fields.get("targets")) is not None and written.value == []:
            written.refuse("a catalog has at least one target", allowed=f"1..{TARGETS_MAX} targets")
        for node in nodes:
            target = _target(node)
            if target.id in targets:
                node.refuse(f"target `{target.id}` is there twice", found=target.id)
            if target.id:
                targets[target.id] = target
    return Catalog(file=file, digest=digest_of(data), targets=targets)


def _target(node: Node) -> CatalogTarget:
    fields = node.fields(_KEYS, _NEEDED)
    classes = fields.part("classification")
    if len([item.scalar() for _, item in classes.entries()]) > CLASSIFICATION_MAX:
        classes.refuse(f"`{classes.name}` has more than {CLASSIFICATION_MAX} entries")
    name = fields.token("id")
    return CatalogTarget(
        id=name,
        node=node,
        kind=fields.token("target_kind"),
        profile_ref=fields.text("profile_ref", most=REFERENCE_LENGTH_MAX),
        environment_ref=fields.text("environment_ref", most=REFERENCE_LENGTH_MAX),
        environment_target=fields.token("environment_target", name),
        capabilities=fields.tokens("capabilities", NAMES_MAX),
        connectors=fields.tokens("connector_refs", NAMES_MAX),
        classification=classes.mapping(),
    )


def is_path(reference: str) -> bool:
    """Return whether a profile is referred to by a path, and not by its name."""
    return "/" in reference or reference.startswith(".")


def check_target(
    entry: CatalogTarget, environment: Environment, problems: Problems, *, connectors: bool = True
) -> None:
    """Keep what `entry` says otherwise than its environment: target, kind, `connectors`.

    A connector that is not there is in the way of some operations, not of all.
    """

    def refuse(field: str, message: str, found: str, allowed: str) -> None:
        part = entry.part(field)
        message = f"target `{entry.id}`: {message}"
        problems.add(message, part.place, field=part.name, found=found, allowed=allowed)

    try:
        resolved = resolve_targets(environment, entry.environment_target)
    except OperationsError as error:
        allowed = str(error.facts.get("allowed", ""))
        refuse("environment_target", error.message, entry.environment_target, allowed)
        return
    declared = environment.targets.get(entry.environment_target)
    kind = resolved[0].type if declared is None else declared.type
    if kind != entry.kind:
        refuse(
            "target_kind",
            f"environment `{environment.id}` has it as `{kind}`, not `{entry.kind}`",
            entry.kind,
            kind,
        )
    usable = usable_connectors(environment)
    for name in entry.connectors if connectors else ():
        if name not in usable:
            message = f"environment `{environment.id}` has no connector `{name}` that is switched on"
            refuse("connector_refs", message, name, listed(sorted(usable)))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicability:
    """Whether an operation can be planned for a target: `reason` in words, what it would need in `wanted`."""

    status: Status
    reason: str
    wanted: tuple[str, ...] = ()
    next: tuple[str, ...] = ()


def offers(profile: Profile) -> tuple[Offer, ...]:
    """Return everything `profile` offers, by name."""
    return tuple(_offer(profile, intent) for _, intent in sorted(profile.intents.items()))


def offer_of(profile: Profile, name: str) -> Offer:
    """Return the offer of intent `name`; raises IntentUnknown where the profile has none."""
    intent = profile.intents.get(name)
    if intent is None:
        message = f"profile `{profile.name}` has no operation `{name:.60}`"
        raise unknown(IntentUnknown, message, name, profile.intents)
    return _offer(profile, intent)


def _offer(profile: Profile, intent: IntentSpec) -> Offer:
    workflow = profile.workflows[intent.workflow]
    steps = (*workflow.steps, *workflow.rollback)
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
    """Return the most far-reaching effect that the steps of `intent` declare."""
    actions = [
        spec.actions[step.action]
        for step in profile.workflows[intent.workflow].steps
        if (spec := profile.connectors.get(step.connector)) is not None and step.action in spec.actions
    ]
    return strongest(
        [action.effect or (Effect.CHANGE if action.mutating else Effect.READ) for action in actions]
    )


def applicability(offer: Offer, entry: CatalogTarget, served: str, environment: Environment) -> Applicability:
    """Return what is in the way of `offer` on `entry`, which is for the profile called `served`."""
    wanted = environment.profile or served
    if offer.profile != served or offer.profile != wanted:
        for_ = f"target `{entry.id}` is for profile `{served if offer.profile != served else wanted}`"
        return Applicability(
            status=Status.UNSUPPORTED_PROFILE,
            reason=f"{for_}, not `{offer.profile}`",
            wanted=(offer.profile,),
        )
    if offer.target_kinds and entry.kind not in offer.target_kinds:
        return Applicability(
            status=Status.UNSUPPORTED_TARGET_KIND,
            reason=f"it is for {listed(offer.target_kinds)}, and `{entry.id}` is a {entry.kind}",
            wanted=offer.target_kinds,
        )
    lacking = tuple(name for name in offer.required_capabilities if name not in entry.capabilities)
    if lacking:
        return Applicability(
            status=Status.MISSING_CAPABILITY,
            reason=f"`{entry.id}` does not have {listed(lacking)}",
            wanted=lacking,
            next=(f"add what it has to `capabilities` in {entry.where()}",),
        )
    there = usable_connectors(environment) & set(entry.connectors)
    lacking = tuple(name for name in offer.required_connectors if name not in there)
    if lacking:
        absent = [name for name in lacking if name in entry.connectors]
        where = f"environment `{environment.id}`" if absent else "`connector_refs`"
        return Applicability(
            status=Status.MISSING_CONNECTOR,
            reason=f"`{entry.id}` is not reached by {listed(lacking)}",
            wanted=lacking,
            next=(f"name {listed(lacking)} in {where}, for {entry.where()}",),
        )
    words = "nothing is in the way, and nothing is allowed: policy answers when it is planned"
    return Applicability(status=Status.ADMISSION_REQUIRED, reason=words)


# --- what a plan says of it ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The catalog a plan was made through: its bytes, the entry, and where it is, seen from beside the root.

    `profile` is how the asker named the profile, where they named it and not the entry alone.
    """

    file: str
    digest: Digest
    target: str
    profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """A catalog as it was read for one request, to be pinned with it."""

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
