"""Which intents `/execute` runs, and under which names: `execute.yaml` of the root.

    service: gateway                     # as whom policy knows these requests
    profiles:
      hello: {env: hello.environment.yaml, target: localhost}    # every intent of it, as `hello/INTENT`
    actions:
      greet: {profile: hello, intent: set_greeting, env: hello.environment.yaml, target: localhost}
    without_approval: false              # whether demo mode, which asks nobody who they are, runs them

It is the operator's, and is read from the root only, where nobody else can write it. Policy decides
all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.app.errors import ActionsRefused
from rexecop.app.files import read_file, require_private
from rexecop.app.root import Root
from rexecop.app.unattended import from_root, profile_from_root
from rexecop.lanes.registry import HANDLERS
from rexecop.operations.profile_model import IntentSpec
from rexecop.operations.reading import Fields, Node, Problems
from rexecop.proof.vocabulary import Mode

SERVICE: Final = "execute"
ACTIONS_MAX: Final = 1000  # Of a file that people write.


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """One action: the intent that it runs, on what, in which mode (None: as far as the intent goes)."""

    action: str
    profile: str
    intent: str
    env: str
    target: str
    mode: Mode | None

    def mode_for(self, intent: IntentSpec) -> Mode:
        """Return the mode it runs in: what it says, else a change where the intent is declared to be one."""
        return self.mode or (Mode.APPLY if Mode.APPLY in intent.modes else Mode.READ_ONLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What the file says. `profiles` are those of which every intent is an action."""

    service: str
    without_approval: bool
    profiles: Mapping[str, Permitted]
    actions: Mapping[str, Permitted]

    def find(self, action: str) -> Permitted | None:
        """Return what `action` runs, None where it is none of these."""
        if (found := self.actions.get(action)) is not None:
            return found
        profile, _, intent = action.partition("/")
        named = self.profiles.get(profile)
        if named is None or not intent:
            return None
        return Permitted(
            action=action,
            profile=named.profile,
            intent=intent,
            env=named.env,
            target=named.target,
            mode=named.mode,
        )


NONE: Final = Actions(service=SERVICE, without_approval=False, profiles={}, actions={})


def root_actions(root: Root) -> Actions:
    """Return the actions of a root; none where there is no file.

    Raises:
        RootUnsafe: others could change the file. ActionsRefused: it is not what it should be.
    """
    if not root.execute.exists():
        return NONE
    require_private(root.execute)
    problems = Problems(ActionsRefused.code)
    found = _read(root, read_file(root.execute), problems)
    for first in problems.findings[:1]:
        raise ActionsRefused(
            first.text(), file=first.file, line=first.line, field=first.field, allowed=first.allowed
        )
    return found


def _read(root: Root, data: bytes, problems: Problems) -> Actions:
    node = problems.parse(data, root.execute.name)
    if node is None:
        return NONE
    fields = node.fields("service profiles actions without_approval")
    profiles = {name: _profile(root, name, part) for name, part in fields.entries("profiles")}
    actions = {name: _action(root, name, part) for name, part in fields.entries("actions")}
    for name in set(actions) & set(HANDLERS):
        node.refuse(f"`{name}` is an action of the service itself", found=name)
    if len(actions) > ACTIONS_MAX:
        node.refuse(f"{len(actions)} actions, at most {ACTIONS_MAX} are read", allowed=str(ACTIONS_MAX))
    return Actions(
        service=fields.token("service", SERVICE),
        without_approval=fields.boolean("without_approval"),
        profiles=profiles,
        actions=actions,
    )


def _profile(root: Root, name: str, node: Node) -> Permitted:
    fields = node.fields("profile env target mode", "env target")
    return _permitted(root, name, fields, fields.text("profile", name), "")


def _action(root: Root, name: str, node: Node) -> Permitted:
    fields = node.fields("profile intent env target mode", "profile intent env target")
    return _permitted(root, name, fields, fields.text("profile"), fields.token("intent"))


def _permitted(root: Root, name: str, fields: Fields, profile: str, intent: str) -> Permitted:
    return Permitted(
        action=name,
        profile=profile_from_root(root.path, profile),
        intent=intent,
        env=from_root(root.path, fields.text("env")),
        target=fields.text("target"),
        mode=fields.maybe("mode", lambda node: node.one_of(Mode)),
    )
