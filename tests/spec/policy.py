"""The decision rule in plain Python over a small language of policies, and the same policies as Cedar.

Written from the design's words, not from the product. Rules: silence is a no, forbid
beats permit. Requirements say that they apply, never that anything is allowed. What
cannot be evaluated denies, in either. Who or what nobody listed is denied before any
policy is asked. What matching permits and requirements ask for is merged to the strictest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field


class Broken(Exception):
    """A condition that cannot be evaluated."""


@dataclass(frozen=True)
class World:
    """Who there is: people with their groups, agents with their sponsors, services, groups of targets.

    `listed` are actions of the one profile there is, each with the most that it may do.
    """

    people: Mapping[str, frozenset[str]]
    agents: Mapping[str, str]
    services: frozenset[str]
    target_groups: frozenset[str]
    listed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    id: str
    groups: frozenset[str]
    criticality: str = "low"


@dataclass(frozen=True)
class Request:
    """`action` is what the operation does; `call` is the name of the call that is due, and what it does."""

    person: str
    action: str
    targets: tuple[Target, ...]
    mode: str
    simulated: bool = False
    sponsor: str | None = None
    step: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    intent: str = "start"
    call: tuple[str, str] | None = None

    def does(self) -> Iterator[tuple[str, str]]:
        """Yield the intent, and the call if one is due, each with what it does."""
        yield f"intent:hello/{self.intent}", self.action
        if self.call is not None:
            yield f"call:hello/{self.call[0]}", self.call[1]

    def around(self) -> set[str]:
        """Return everything the action is in, itself included."""
        groups = {self.action} if self.call is None else {self.action, f"call:{self.call[1]}"}
        return groups | {name for name, _ in self.does()}


@dataclass(frozen=True)
class Head:
    """What a scope says of principal or resource: its type, who exactly it is, or what it is in."""

    kind: str | None = None
    equals: str | None = None  # Like `User::"alice"`.
    within: str | None = None


@dataclass(frozen=True)
class Policy:
    """`word` is permit, forbid or require; `when` names one of `CONDITIONS`."""

    word: str
    principal: Head
    actions: tuple[str, ...]  # None of them named means any.
    resource: Head
    when: str
    approvals: tuple[int, str] | None
    output_bytes: int | None
    no_network: bool


@dataclass(frozen=True)
class Answer:
    """A verdict and what is asked for on top, which is nothing for a no."""

    verdict: str
    approvals: frozenset[tuple[int, str]] = frozenset()
    output_bytes: int | None = None
    no_network: bool = False


NO = Answer("blocked")

Condition = Callable[[World, Request, Target], bool]


def _overflow(world: World, request: Request, target: Target) -> bool:
    raise Broken


def _overflow_when_simulated(world: World, request: Request, target: Target) -> bool:
    if request.simulated:
        raise Broken
    return True


def _asks_for_v(world: World, request: Request, target: Target) -> bool:
    return request.parameters.get("p", "v") == "v"


CONDITIONS: Mapping[str, Condition] = {
    "true": lambda world, request, target: True,
    "9223372036854775807 + 1 == 0": _overflow,
    "if context.simulated then 9223372036854775807 + 1 == 0 else true": _overflow_when_simulated,
    'context.mode == "apply"': lambda world, request, target: request.mode == "apply",
    'resource.criticality == "high"': lambda world, request, target: target.criticality == "high",
    "context.simulated": lambda world, request, target: request.simulated,
    "{whole: context}.whole.simulated": lambda world, request, target: request.simulated,
    'User::"bob" in [Group::"g"]': lambda world, request, target: "g" in world.people["bob"],
    '(principal is Agent && principal.sponsor in Group::"h") == true': lambda world, request, target: (
        request.person in world.agents and "h" in world.people[world.agents[request.person]]
    ),
    'if context has step then context.step == "one" else true': lambda world, request, target: (
        request.step in (None, "one")
    ),
    'if context.parameters.hasTag("p") then context.parameters.getTag("p") == "v" else true': _asks_for_v,
    'context.now < datetime("2100-01-01")': lambda world, request, target: True,
    'action == Action::"change"': lambda world, request, target: "change" in request.around(),
    'Action::"intent:hello/start" != action': lambda world, request, target: (
        "intent:hello/start" not in request.around()
    ),
    '[Action::"read", Action::"call:change"].contains(action)': lambda world, request, target: (
        not request.around().isdisjoint({"read", "call:change"})
    ),
    '!(action in [Action::"call:hello/local/kill", Action::"destroy"])': lambda world, request, target: (
        request.around().isdisjoint({"call:hello/local/kill", "destroy"})
    ),
}
# The same in words that Cedar takes as they are meant here: to be an action is to be in it.
TO_BE_IN: Mapping[str, str] = {
    'action == Action::"change"': 'action in Action::"change"',
    'Action::"intent:hello/start" != action': '!(action in Action::"intent:hello/start")',
    '[Action::"read", Action::"call:change"].contains(action)': (
        'action in [Action::"read", Action::"call:change"]'
    ),
}


def decide(world: World, policies: Sequence[Policy], request: Request) -> Answer:
    """Answer by walking all policies for all targets."""
    if unknown(world, request):
        return NO
    asking: list[Policy] = []
    for target in request.targets:
        try:
            matching = [policy for policy in policies if _matches(world, policy, request, target)]
        except Broken:
            return NO
        words = {policy.word for policy in matching}
        if "forbid" in words or "permit" not in words:
            return NO
        asking += matching
    counts: dict[str, int] = {}
    for policy in asking:
        if policy.approvals is not None:
            count, group = policy.approvals
            counts[group] = max(count, counts.get(group, 0))
    limits = [policy.output_bytes for policy in asking if policy.output_bytes is not None]
    return Answer(
        verdict="approval_required" if counts else "allowed",
        approvals=frozenset((count, group) for group, count in counts.items()),
        output_bytes=min(limits, default=None),
        no_network=any(policy.no_network for policy in asking),
    )


def unknown(world: World, request: Request) -> bool:
    """Whether the request is about anybody or anything that nobody listed."""
    if request.person in world.agents:
        known = request.sponsor == world.agents[request.person]
    else:
        known = request.person in world.people or request.person in world.services
    # Groups of targets are known by their list; where there is none, no policy can name any.
    listed = world.target_groups
    groups = {group for target in request.targets for group in target.groups}
    twice = len({target.id for target in request.targets}) < len(request.targets)
    unlisted = any(not _listed(world.listed, *one) for one in request.does())
    return not known or not request.targets or twice or bool(listed and groups - listed) or unlisted


def _listed(listed: Mapping[str, str], name: str, effect: str) -> bool:
    """Whether an action is known: as listed, as one of the rest, or because none of its kind is listed."""
    kind, effects = name[: name.index("/") + 1], ("read", "change", "destroy")
    if not any(other.startswith(kind) for other in listed):
        return True
    most = listed.get(name, listed.get(f"{kind}*"))
    return most is not None and effects.index(effect) <= effects.index(most)


def _matches(world: World, policy: Policy, request: Request, target: Target) -> bool:
    """Whether scope and condition hold; a condition is looked at only where the scope matches."""
    person = request.person
    if person in world.people:
        who, above = f'User::"{person}"', {f'Group::"{group}"' for group in world.people[person]}
    else:
        who, above = f'{"Agent" if person in world.agents else "Service"}::"{person}"', set[str]()
    what = f'Target::"{target.id}"'
    around = {f'TargetGroup::"{group}"' for group in target.groups}
    in_scope = (
        _in(policy.principal, who, above)
        and (not policy.actions or not request.around().isdisjoint(policy.actions))
        and _in(policy.resource, what, around)
    )
    return in_scope and CONDITIONS[policy.when](world, request, target)


def _in(head: Head, entity: str, above: set[str]) -> bool:
    return (
        (head.kind is None or entity.startswith(f"{head.kind}::"))
        and (head.equals is None or head.equals == entity)
        and (head.within is None or head.within == entity or head.within in above)
    )


def cedar(policy: Policy, policy_id: str, *, to_be_in: bool = False) -> str:
    """Write `policy` as Cedar; with `to_be_in` so that Cedar by itself takes it as it is meant."""
    head = f'@id("{policy_id}")\n'
    if policy.word != "forbid":
        obligations = [] if policy.output_bytes is None else [f"output_bytes<={policy.output_bytes}"]
        obligations += ["no_network"] if policy.no_network else []
        if policy.approvals is not None:
            head += f'@approvals("{policy.approvals[0]} of {policy.approvals[1]}")\n'
        elif policy.word == "require" and not obligations:
            obligations = ["receipt"]
        if obligations:
            head += f'@obligations("{", ".join(obligations)}")\n'
    actions = ", ".join(f'Action::"{action}"' for action in policy.actions)
    where = f"action in [{actions}]"
    if len(policy.actions) < 2 and not (actions and to_be_in):
        where = f"action == {actions}" if actions else "action"
    when = TO_BE_IN.get(policy.when, policy.when) if to_be_in else policy.when
    word = "forbid" if policy.word == "forbid" else "permit"
    scope = f"{_scope('principal', policy.principal)}, {where}, {_scope('resource', policy.resource)}"
    return f"{head}{word} ({scope})\nwhen {{ {when} }};\n"


def _scope(variable: str, head: Head) -> str:
    if head.equals is not None:
        return f"{variable} == {head.equals}"
    kind = "" if head.kind is None else f" is {head.kind}"
    within = "" if head.within is None else f" in {head.within}"
    return f"{variable}{kind}{within}"
