"""Reading `connectors/<name>.yaml`: which exact calls a connector may make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rexecop.operations.environment import ISOLATIONS, OUTPUT_BYTES_MAX
from rexecop.operations.profile_model import (
    ActionSpec,
    CommandShape,
    ConnectorSpec,
    ExpectationSpec,
    Place,
    ProbeSpec,
)
from rexecop.operations.reading import Node
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Isolation

ARGUMENTS_MAX: Final = 256  # A command with more arguments is a list of files, and belongs into its input.
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_CONNECTOR_KEYS: Final = (
    *(
        "name",
        "backend",
        "backends",
        "description",
        "capabilities",
        "command_shapes",
        "action_shapes",
        "actions",
    ),
    *("required_capability_descriptors", "required_capability_descriptors_by_backend", "modes"),
    *("network_policy_binding", "network_policy_binding_by_backend", "timeout_default", "contract"),
    *("public_projection", "safe_output_fields"),
)
_ACTION_KEYS: Final = (
    *("effect", "idempotent", "command", "args", "stdin", "env", "writable", "isolation", "timeout"),
    *("output_bytes", "normalize", "precondition", "postcondition", "probe", "undo", "description"),
)
_HTTP_KEYS: Final = (
    *("method", "path", "query", "body", "unwrap", "pagination", "mutating", "max_response_bytes"),
    *("public_projection", "safe_output_fields"),
)


def read_connector(root: Node, stem: str) -> ConnectorSpec:
    """Return the connector of the file named `stem`."""
    top = root.fields(("connector",), ("connector",)).get("connector") or root.child("connector", {})
    fields = top.fields(_CONNECTOR_KEYS, ("name", "capabilities"))
    name = fields.token("name", stem)
    if name != stem:
        top.refuse(f"connector `{name}` stands in the file of `{stem}`", found=name, allowed=stem)
    backend = fields.token("backend")
    commands = dict(fields.entries("command_shapes"))
    https = dict(fields.entries("action_shapes"))
    own = dict(fields.entries("actions"))
    capabilities = fields.tokens("capabilities")
    for kind, shapes in (("command_shapes", commands), ("action_shapes", https), ("actions", own)):
        for action, node in shapes.items():
            if action not in capabilities:
                node.refuse(
                    f"`{kind}` names `{action}`, which is not among `capabilities`",
                    found=action,
                    allowed=", ".join(capabilities),
                )
    return ConnectorSpec(
        name=stem,
        place=Place(file=top.file, line=top.line),
        backends=(backend,) if backend else fields.tokens("backends"),
        actions={
            action: _action(action, top, own.get(action), commands.get(action), https.get(action))
            for action in capabilities
        },
    )


def _action(
    name: str, connector: Node, own: Node | None, command: Node | None, http: Node | None
) -> ActionSpec:
    node = own or command or http or connector
    fields = (own or connector.child(name, {})).fields(_ACTION_KEYS)
    effect = fields.get("effect")
    idempotent = fields.get("idempotent")
    isolation = fields.one_of("isolation", ("best", *ISOLATIONS), "best")
    normalize, undo, stdin = fields.get("normalize"), fields.get("undo"), fields.get("stdin")
    output = fields.get("output_bytes")
    shape, mutating = _http(http)
    if fields.get("command") is not None and command is not None and own is not None:
        own.refuse(f"the command of `{name}` is written twice, here and under `command_shapes`")
    return ActionSpec(
        name=name,
        place=Place(file=node.file, line=node.line),
        effect=None if effect is None else Effect(effect.one_of(tuple(map(str, Effect)))),
        idempotent=None if idempotent is None else idempotent.boolean(),
        mutating=mutating,
        command=_command(own if fields.get("command") is not None else command),
        http=shape,
        stdin=None if stdin is None else stdin.text(),
        env={key: item.text() for key, item in fields.entries("env", _VARIABLE)} or None,
        writable=fields.texts("writable", 16),
        isolation=None if isolation == "best" else Isolation(isolation),
        timeout_ms=fields.duration("timeout"),
        output_bytes=None if output is None else output.integer(1, OUTPUT_BYTES_MAX),
        normalizer=None if normalize is None else normalize.token(),
        precondition=read_expectation(fields.get("precondition")),
        postcondition=read_expectation(fields.get("postcondition")),
        probe=_probe(fields.get("probe")),
        undo=None if undo is None else undo.token(),
    )


def _command(node: Node | None) -> CommandShape | None:
    if node is None:
        return None
    keys = ("command", "args", "public_projection", "safe_output_fields")
    fields = node.fields((*keys, *_ACTION_KEYS), ("command",))
    return CommandShape(command=fields.text("command"), args=fields.texts("args", ARGUMENTS_MAX))


def _http(node: Node | None) -> tuple[Mapping[str, Json] | None, bool | None]:
    if node is None:
        return None, None
    fields = node.fields(_HTTP_KEYS, ("method", "path"))
    mutating = fields.get("mutating")
    return node.mapping(), None if mutating is None else mutating.boolean()


def read_expectation(node: Node | None) -> ExpectationSpec | None:
    """Return the fact that must hold, or None where nothing is asked."""
    if node is None:
        return None
    fields = node.fields(("step", "fact", "equals"), ("fact", "equals"))
    equals = fields.get("equals")
    return ExpectationSpec(
        step=fields.token("step") or None,
        fact=fields.text("fact"),
        equals="" if equals is None else equals.scalar(),
    )


def _probe(node: Node | None) -> ProbeSpec | None:
    if node is None:
        return None
    keys = ("action", "normalize", "fact", "equals")
    fields = node.fields(keys, keys)
    equals = fields.get("equals")
    return ProbeSpec(
        action=fields.token("action"),
        normalizer=fields.token("normalize"),
        fact=fields.text("fact"),
        equals="" if equals is None else equals.scalar(),
    )
